"""A multipart/form-data body -> its parts. Knows nothing of images or of HTTP's statuses.

The whole body is in memory, so bytes.find finds the parts, in time linear in the body whatever it
holds, and Python code runs once for each part only.

Source:
    RFC 7578 (multipart/form-data), RFC 2046 5.1 (multipart), RFC 9110 5.6.6 (parameters).
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

MAX_BOUNDARY_BYTES: Final = 70  # RFC 2046
MAX_PART_HEADER_BYTES: Final = 4096
MAX_PART_FIELDS: Final = 32  # lines and parameters of a part's header; a client sends three
_PADDING: Final = b" \t"
_FOLD: Final = re.compile(rb"\r\n[ \t]+")
# ; name=token or ; name="quoted"; .NET and old clients send unquoted values that are not tokens.
_PARAMETER: Final = re.compile(
    rb';[ \t]*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^;"]*)', re.DOTALL
)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)


class FormError(ValueError):
    """The body does not follow its boundary, or a part's header cannot be read."""


class Part(NamedTuple):
    """One part of a form."""

    name: str
    has_filename: bool
    content_type: str  # lower case, without parameters; empty: none was given
    data: bytes


def boundary_of(content_type: bytes) -> bytes:
    """The boundary that a content-type header names.

    Raises:
        FormError: there is none, or it has more than 70 bytes.
    """
    boundary = _parameters(content_type).get(b"boundary", b"")
    if not 1 <= len(boundary) <= MAX_BOUNDARY_BYTES:
        raise FormError(
            f"its boundary has {len(boundary)} bytes; content-type must name one of 1 to "
            f"{MAX_BOUNDARY_BYTES}"
        )
    return boundary


def parts_of(body: bytes, boundary: bytes) -> Iterator[Part]:
    """The parts in order. The caller stops where it has too many, and no more is parsed.

    Raises:
        FormError: the body does not follow its boundary, or a part's header cannot be read.
    """
    delimiter = b"\r\n--" + boundary
    start = _first_delimiter(body, delimiter)
    while body[start : start + 2] != b"--":
        header_start = _end_of_line(body, start)
        end = body.find(delimiter, header_start - 2)
        if end < 0:
            raise FormError("its last boundary is missing; it may be cut")
        yield _part(body, header_start, end)
        start = end + len(delimiter)


def _first_delimiter(body: bytes, delimiter: bytes) -> int:
    """Where the first delimiter ends; a preamble before it is ignored."""
    if body.startswith(delimiter[2:]):
        return len(delimiter) - 2
    start = body.find(delimiter)
    if start < 0:
        raise FormError("its boundary does not occur at the start of a line")
    return start + len(delimiter)


def _end_of_line(body: bytes, start: int) -> int:
    """Where the line after a delimiter's starts; RFC 2046 allows padding before its end."""
    end = body.find(b"\r\n", start, start + MAX_PART_HEADER_BYTES)
    if end < 0 or body[start:end].strip(_PADDING):
        raise FormError("a line starts with the boundary but goes on; lines end with CR LF")
    return end + 2


def _part(body: bytes, start: int, end: int) -> Part:
    """The part from its header's start to its delimiter."""
    # A part without header lines starts with the empty line.
    blank = start - 2 if body[start : start + 2] == b"\r\n" else -1
    if blank < 0:
        blank = body.find(b"\r\n\r\n", start, min(end + 2, start + MAX_PART_HEADER_BYTES))
    if blank < 0:
        raise FormError(
            f"a part's header has no end; it may have {MAX_PART_HEADER_BYTES} bytes, then an empty "
            "line"
        )
    name, has_filename, content_type = _parse_header(body[start : max(blank, start)])
    return Part(name, has_filename, content_type, body[blank + 4 : end])


@lru_cache(maxsize=512)
def _parse_header(header: bytes) -> tuple[str, bool, str]:
    """A part's name, whether it has a filename, and its type. Cached: senders repeat them."""
    if header.count(b"\r\n") + header.count(b";") > MAX_PART_FIELDS:
        raise FormError(f"a part's header has more than {MAX_PART_FIELDS} lines and parameters")
    headers = _headers(header)
    _check_encoding(headers)
    disposition = headers.get(b"content-disposition", b"")
    if disposition.partition(b";")[0].strip(_PADDING).lower() != b"form-data":
        raise FormError("a part has no 'Content-Disposition: form-data; name=...'")
    parameters = _parameters(disposition)
    name = parameters.get(b"name")
    if name is None:  # RFC 7578 advises against name*, but clients send it
        name = unquote_to_bytes(parameters.get(b"name*", b"").rpartition(b"'")[2])
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip(_PADDING)
    return (
        name.decode(errors="replace"),
        b"filename" in parameters or b"filename*" in parameters,
        kind.decode("latin-1").lower(),
    )


def _headers(text: bytes) -> dict[bytes, bytes]:
    """A part's header by lower-case names; of a repeated one the first counts."""
    headers: dict[bytes, bytes] = {}
    for line in _FOLD.sub(b" ", text).split(b"\r\n") if text else ():
        name, colon, value = line.partition(b":")
        if not colon:
            raise FormError(f"a part's header has the line {line[:40]!r}, without a colon")
        headers.setdefault(name.strip(_PADDING).lower(), value.strip(_PADDING))
    return headers


def _check_encoding(headers: dict[bytes, bytes]) -> None:
    """RFC 7578 deprecates encodings: HTTP carries any byte."""
    encoding = headers.get(b"content-transfer-encoding", b"binary").lower()
    if encoding not in (b"binary", b"8bit", b"7bit"):
        raise FormError(
            f"a part's content-transfer-encoding is {encoding[:20].decode('latin-1')!r}; send the "
            "file's bytes as they are"
        )


def _parameters(value: bytes) -> dict[bytes, bytes]:
    """The parameters after a header value's first semicolon; of a repeated one the first counts."""
    parameters: dict[bytes, bytes] = {}
    for name, text in _PARAMETER.findall(value):
        is_quoted = text.startswith(b'"')
        plain = _ESCAPED.sub(rb"\1", text[1:-1]) if is_quoted else text.strip(_PADDING)
        parameters.setdefault(name.lower(), plain)
    return parameters
