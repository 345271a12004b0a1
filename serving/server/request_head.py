"""The head of an HTTP/1.x request: request line and header fields, checked against the RFCs.

Pure: bytes in; a Head, or a Problem that says what is wrong. llhttp (httptools) checks the syntax;
this module checks what llhttp leaves to the server, and how the body is framed.

Source:
    RFC 9112 (HTTP/1.1), chapters 2, 3, 5 and 6; RFC 9110, 4.2 and 7.2 (Host), 10.1.1 (Expect).
"""

import re
import urllib.parse
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final, NamedTuple

import httptools

from serving.problems import Problem

_VERSIONS: Final = (b" HTTP/1.1", b" HTTP/1.0")
_ANY_VERSION: Final = re.compile(rb" HTTP/\d\.\d$")
_HOST: Final = re.compile(
    rb"(?:\[([0-9A-Fa-f:.]+)\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::(\d{0,5}))?"
)
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]*)", re.IGNORECASE)
MAX_FIELDS: Final = 128  # browsers behind two proxies send 40; each takes 2 us of the event loop
_MAX_PORT: Final = 65_535
_MAX_DIGITS: Final = 20  # of a number of 64 bits
_CHECKED: Final = frozenset(
    (b"host", b"content-length", b"transfer-encoding", b"expect", b"connection")
)


class Head(NamedTuple):
    """A checked head."""

    method: str
    path: str
    raw_path: bytes
    query_string: bytes
    version: str  # 1.0 or 1.1
    headers: list[tuple[bytes, bytes]]  # names in lower case; no upgrade
    content_length: int | None  # None: the body is chunked
    expects_continue: bool
    keeps_alive: bool


class _Fields:
    """Collects what llhttp finds in one head."""

    __slots__ = ("checked", "closes", "headers", "is_complete", "url")

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.checked: list[tuple[bytes, bytes]] = []
        self.closes = False  # the client sends no other request
        self.is_complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        value = value.rstrip(b" \t")  # RFC 9112, 5.1: not a part of it; llhttp keeps it
        self.headers.append((name, value))
        if name not in _CHECKED:
            return
        if name == b"connection":
            self.closes |= b"close" in [option.strip() for option in value.lower().split(b",")]
        else:
            self.checked.append((name, value))

    def on_headers_complete(self) -> None:
        self.is_complete = True


def parse_head(head: bytes) -> Head:
    """Parse and check one head.

    Args:
        head: from the first byte of the request line to the empty line, inclusive.

    Raises:
        Problem: 400, 405, 417, 431, 501 or 505; it closes the connection.
    """
    line_end = head.find(b"\r\n")
    check_request_line(head, line_end)
    num_fields = head.count(b"\r\n") - 2
    if num_fields > MAX_FIELDS:
        detail = f"the header has {num_fields} fields; send at most {MAX_FIELDS}"
        raise Problem(431, detail, closes_connection=True)
    fields = _Fields()
    parser = httptools.HttpRequestParser(fields)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        # RFC 9110, 7.8: a server may ignore the field. Java's client and curl --http2 send it.
        fields.headers = [field for field in fields.headers if field[0] != b"upgrade"]
    except httptools.HttpParserError as error:
        raise _malformed(f"the request is not valid HTTP/1.1: {error}") from None
    if not fields.is_complete:
        raise _malformed("the request is not valid HTTP/1.1: its header has no end")
    version = "1.1" if head.endswith(b"1", 0, line_end) else "1.0"
    method = parser.get_method().decode("ascii")
    framing = _framing(fields.checked, version)
    path, raw_path, query_string, authority = _split_target(method, fields.url)
    if authority is not None:  # RFC 9112, 3.2.2: it replaces the Host field
        fields.headers = [field for field in fields.headers if field[0] != b"host"]
        fields.headers.append((b"host", authority))
    return Head(
        method,
        path,
        raw_path,
        query_string,
        version,
        fields.headers,
        *framing,
        version == "1.1" and not fields.closes,
    )


def check_request_line(head: bytes, line_end: int) -> None:
    """Check that the line ends in a version that is served: llhttp reads RTSP, ICE and HTTP/2.0.

    Args:
        head: starts with the request line.
        line_end: where its CRLF is; negative: there is none.

    Raises:
        Problem: 505 for another version of HTTP, 400 for anything else.
    """
    if line_end >= 0 and head.endswith(_VERSIONS, 0, line_end):
        return
    line = head[: max(line_end, 0)]
    if _ANY_VERSION.search(line):
        raise Problem(
            505,
            f"the request line names {line[-8:].decode('latin-1')}; send HTTP/1.1",
            closes_connection=True,
        )
    raise _malformed("the first line is not a request line that ends in HTTP/1.1; send HTTP/1.1")


def _framing(checked: list[tuple[bytes, bytes]], version: str) -> tuple[int | None, bool]:
    """The body's length, None if it is chunked, and whether the client expects 100 Continue.

    Args:
        checked: the fields of `_CHECKED`.
        version: of the request.

    Raises:
        Problem: 400, a field is missing, repeated or invalid; 417 and 501, it asks for too much.
    """
    host, length, coding, expectation = _sort(checked)
    if host is not None:
        if not is_host(host):
            shown = host[:60].decode("latin-1")
            raise _malformed(f"the host header is {shown!r}; send HOST or HOST:PORT")
    elif version == "1.1":
        raise _malformed("the request has no host header; send one")
    expects_continue = expectation is not None and _expects_continue(expectation, version)
    if coding is not None:
        _check_coding(coding, version, has_length=length is not None)
        return None, expects_continue
    if length is None:
        return 0, expects_continue
    if not length.isdigit() or len(length) > _MAX_DIGITS:
        raise _malformed("content-length is not a number")
    return int(length), expects_continue


def _sort(
    checked: list[tuple[bytes, bytes]],
) -> tuple[bytes | None, bytes | None, bytes | None, bytes | None]:
    """The values of Host, Content-Length, Transfer-Encoding and Expect; None: it is not there."""
    host = length = coding = expectation = None
    for name, value in checked:
        if name == b"host" and host is None:
            host = value
        elif name == b"content-length" and length is None:
            length = value
        elif name == b"transfer-encoding" and coding is None:
            coding = value
        elif name == b"expect":
            expectation = value if expectation is None else expectation + b", " + value
        else:
            raise _malformed(f"the request has two {name.decode('ascii')} headers; send one")
    return host, length, coding, expectation


@lru_cache(maxsize=256)
def is_host(value: bytes) -> bool:
    """Whether this is HOST or HOST:PORT. An empty one is invalid for http (RFC 9110, 4.2.1)."""
    found = _HOST.fullmatch(value)
    if found is None or int(found[2] or 0) > _MAX_PORT:
        return False
    try:
        return found[1] is None or bool(IPv6Address(found[1].decode("ascii")))
    except ValueError:
        return False


@lru_cache(maxsize=64)
def _split_target(method: str, target: bytes) -> tuple[str, bytes, bytes, bytes | None]:
    """Path, raw path, query string and, in the absolute form, the authority.

    Cached, because clients request the same few targets.

    Raises:
        Problem: 400, or 405 and 501 for the forms that only other servers serve.
    """
    if method == "CONNECT":
        raise Problem(501, "CONNECT is for proxies; this is none", closes_connection=True)
    if target == b"*" and method == "OPTIONS":
        raise Problem(
            405,
            "OPTIONS is not served",
            closes_connection=True,
            headers=((b"allow", b"GET, HEAD, POST"),),
        )
    shown = repr(target[:80].decode("latin-1"))
    authority, path_and_query = None, target
    if not target.startswith(b"/"):
        absolute = _ABSOLUTE.match(target)
        if absolute is None or not is_host(absolute[1]):
            raise _malformed(f"the target is {shown}; send a path, such as /v1/digit")
        authority, path_and_query = absolute[1], target[absolute.end() :]
    if b"#" in target or not target.isascii():
        raise _malformed(f"the target is {shown}; percent-encode # and non-ASCII bytes")
    raw_path, _, query_string = path_and_query.partition(b"?")
    path = raw_path.decode("ascii") or "/"
    return (
        urllib.parse.unquote(path) if "%" in path else path,
        raw_path or b"/",
        query_string,
        authority,
    )


def _check_coding(coding: bytes, version: str, *, has_length: bool) -> None:
    """Check that the only transfer coding is `chunked`, and that nothing else gives a length.

    Raises:
        Problem: 400, the length of the body is not certain; 501, a coding is not known.
    """
    if has_length or version == "1.0":
        raise _malformed("send either content-length or, in HTTP/1.1, 'transfer-encoding: chunked'")
    names = [name.strip(b" \t").lower() for name in coding.split(b",")]
    if names == [b"chunked"]:
        return
    if names[-1] != b"chunked" or names.count(b"chunked") > 1:
        raise _malformed("transfer-encoding does not end in one 'chunked'")
    raise Problem(
        501,
        f"transfer-encoding is {coding[:60].decode('latin-1')!r}; only 'chunked' is read",
        closes_connection=True,
    )


def _expects_continue(expectation: bytes, version: str) -> bool:
    if version == "1.0":  # RFC 9110, 10.1.1: ignore it
        return False
    if expectation.lower() != b"100-continue":
        raise Problem(
            417,
            f"expect is {expectation[:60].decode('latin-1')!r}; only '100-continue' can be met",
            closes_connection=True,
        )
    return True


def _malformed(detail: str) -> Problem:
    return Problem(400, detail, closes_connection=True)
