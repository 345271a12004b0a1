"""Request -> crops from its body, parameters from its query."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray

from serving.api.multipart_form import FormError, Part, boundary_of, parts_of
from serving.api.packed import packed_crops
from serving.messages import Request
from serving.problems import Problem

IMAGE_TYPES: Final = ("image/png", "image/jpeg")
FORM_TYPE: Final = "multipart/form-data"
NPY_TYPE: Final = "application/x-npy"
TEXT_TYPE: Final = "text/plain"
MAX_TEXT_FIELDS: Final = 16
DEFAULT_TOP_K: Final = 5
MAX_TOP_K: Final = 5
_QUERY_NAMES: Final = ("top_k", "pattern", "digits")
_MAGICS: Final = (b"\x89PNG", b"\xff\xd8\xff")
_TOP_KS: Final = frozenset(str(number) for number in range(1, MAX_TOP_K + 1))


def query_params(request: Request) -> dict[str, str]:
    """The query parameters by name.

    Raises:
        Problem: 400, the query cannot be parsed, or has a parameter twice.
    """
    try:
        pairs = parse_qsl(
            request.query_string.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=16,
        )
    except ValueError as error:
        raise Problem(400, f"the query string cannot be read: {error}") from error
    params = dict(pairs)
    if len(params) != len(pairs):
        raise Problem(400, "a query parameter was given twice; give each once")
    return params


def top_k_of(request: Request) -> int:
    """Number of candidates in the answer.

    Raises:
        Problem: 400, top_k is not a whole number from 1 to 5.
    """
    if not request.query_string:
        return DEFAULT_TOP_K
    text = query_params(request).get("top_k", str(DEFAULT_TOP_K))
    if text not in _TOP_KS:
        raise Problem(400, f"top_k is {text[:20]!r}; give a whole number from 1 to {MAX_TOP_K}")
    return int(text)


def many_crops(
    request: Request, *, max_files: int, max_packed: int
) -> Sequence[bytes] | Sequence[NDArray[np.uint8]]:
    """The crops of a form or of an .npy body, in order.

    Raises:
        Problem: 400 the body cannot be parsed; 422 it has too many crops.
        CropError: packed crops are too small or too large.
    """
    if request.content_type == FORM_TYPE:
        return form_files(request, None, max_files=max_files)
    return packed_crops(request.body, max_packed)


def form_files(request: Request, field: str | None, *, max_files: int) -> list[bytes]:
    """The files of a multipart body in order, of one field or of all fields.

    Text fields are ignored, such as the token that a web framework adds; but not those with the
    name of a query parameter, whose sender would not get what was asked for.

    Raises:
        Problem: 400 the body cannot be parsed; 422 it has too many files.
    """
    files: list[bytes] = []
    num_texts = 0
    try:
        boundary = boundary_of(request.headers.get(b"content-type", b""))
        for part in parts_of(request.body, boundary):
            if not _is_file(part):
                num_texts += 1
                _check_text(part, num_texts)
                continue
            if field is not None and part.name != field:
                raise Problem(400, f"the field is {part.name[:40]!r}; send the crop as {field!r}")
            if len(files) == max_files:
                raise Problem(422, f"more than {max_files} files were sent; split the request")
            files.append(part.data)
    except FormError as error:
        raise Problem(400, f"the multipart body cannot be read: {error}") from error
    if not files:
        raise Problem(400, "the multipart body has no file; send crops as files")
    return files


def _is_file(part: Part) -> bool:
    """Whether a part is a crop. Many clients send an image without a filename.

    OkHttp and Go name its type only, .NET neither, so that its bytes must tell.
    """
    return (
        part.has_filename
        or part.content_type not in ("", TEXT_TYPE)
        or part.data.startswith(_MAGICS)
    )


def _check_text(part: Part, num_texts: int) -> None:
    if part.name in _QUERY_NAMES:
        raise Problem(400, f"{part.name} is a field of the form; give it in the query")
    if num_texts > MAX_TEXT_FIELDS:
        raise Problem(
            400, f"more than {MAX_TEXT_FIELDS} text fields were sent; send crops as files"
        )
