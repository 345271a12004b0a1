"""Request -> crops from its body, parameters from its query."""

import io
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser

from model.decode import check_size
from serving.messages import Request
from serving.problems import Problem

IMAGE_TYPES: Final = ("image/png", "image/jpeg")
FORM_TYPE: Final = "multipart/form-data"
NPY_TYPE: Final = "application/x-npy"
DEFAULT_TOP_K: Final = 5
MAX_TOP_K: Final = 5
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


async def many_crops(
    request: Request, *, max_files: int, max_packed: int
) -> Sequence[bytes] | Sequence[NDArray[np.uint8]]:
    """The crops of a form or of an .npy body, in order.

    Raises:
        Problem: 400 the body cannot be parsed; 422 it has too many crops.
        CropError: packed crops are too small or too large.
    """
    if request.content_type == FORM_TYPE:
        return await form_files(request, None, max_files=max_files)
    return _packed_crops(request.body, max_packed)


async def form_files(request: Request, field: str | None, *, max_files: int) -> list[bytes]:
    """The files of a multipart body in order, of one field or of all fields.

    Raises:
        Problem: 400 the body cannot be parsed; 422 it has too many files.
    """

    async def stream() -> Any:
        yield request.body

    headers = Headers(raw=list(request.headers.items()))
    parser = MultiPartParser(headers, stream(), max_files=max_files, max_fields=16)
    parser.spool_max_size = len(request.body) + 1  # never spool to disk: it may be full
    try:
        form = await parser.parse()
    # python-multipart and starlette raise these when the body does not follow its boundary.
    except (MultiPartException, ValueError, KeyError, AttributeError, AssertionError) as error:
        if str(error).startswith("Too many files"):
            raise Problem(
                422, f"more than {max_files} files were sent; split the request"
            ) from error
        raise Problem(400, f"the multipart body cannot be read: {error}") from error
    files = []
    try:
        for name, value in form.multi_items():
            if isinstance(value, str):
                raise Problem(400, f"the field {name[:40]!r} is text; send crops as files")
            if field is not None and name != field:
                raise Problem(400, f"the field is {name[:40]!r}; send the crop as {field!r}")
            files.append(await value.read())
    finally:
        await form.close()
    if not files:
        raise Problem(400, "the multipart body has no file; send each crop as a file")
    return files


def _packed_crops(body: bytes, max_crops: int) -> list[NDArray[np.uint8]]:
    """The crops of an .npy body: uint8 (N, H, W)."""
    stream = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, is_fortran, dtype = read_header(stream)
    # numpy parses the header with Python's parser, which raises a dozen error classes.
    except Exception as error:
        raise Problem(400, f"the body is not an .npy file: {error}") from error
    if dtype != np.uint8 or is_fortran or len(shape) != 3:
        raise Problem(
            422, f"the array is {dtype} of shape {shape}; send uint8 (N, H, W) in C order"
        )
    num_crops, height, width = shape
    if not 1 <= num_crops <= max_crops:
        raise Problem(422, f"the array holds {num_crops} crops; send 1 to {max_crops}")
    check_size(width, height)
    data = body[stream.tell() :]
    if len(data) != num_crops * height * width:
        raise Problem(
            400, f"the array's data has {len(data)} bytes; {num_crops * height * width} are needed"
        )
    return list(np.frombuffer(data, dtype=np.uint8).reshape(shape))
