"""The body of an .npy file -> packed crops. Knows nothing of the model.

numpy's own reader gives the header to Python's parser, which takes any literal: a shape of True or
-1, and thousands of brackets. The grammar here is that of uint8 arrays and a little more.

Source:
    numpy, "NEP 1: A simple file format for numpy arrays".
"""

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.decode import check_size
from serving.problems import Problem

_MAGIC: Final = b"\x93NUMPY"
_MAX_HEADER_BYTES: Final = 10_000  # numpy's own limit
# Possessive (*+): a header of blanks takes linear time.
_VALUE: Final = rb"(?:('[^'\\]{0,40}')|(True|False)|\(([^()]{0,80})\))"
_ENTRY: Final = rb"'(\w{1,20})'\s*+:\s*+" + _VALUE + rb"\s*+"
_HEADER: Final = re.compile(rb"\s*+\{\s*+" + rb",\s*+".join([_ENTRY] * 3) + rb"(?:,\s*+)?\}\s*+")
_SIZE: Final = rb"\s*+\d{1,9}L?\s*+"  # L: written by Python 2
_SIZES: Final = re.compile(rb"(?:%b,)*(?:%b)?" % (_SIZE, _SIZE))
_UINT8: Final = (b"|u1", b"u1", b"<u1", b">u1", b"=u1", b"B", b"uint8")


def packed_crops(body: bytes, max_crops: int) -> list[NDArray[np.uint8]]:
    """The crops of an .npy body: uint8 (N, H, W).

    Raises:
        Problem: 400 the body is no .npy file; 422 its array has another type, or too many crops.
        CropError: the crops are too small or too large.
    """
    header, start = _header(body)
    if header["descr"] not in _UINT8 or header["fortran_order"] != b"False":
        raise _wrong_kind(header)
    shape = tuple(
        int(size.strip().rstrip(b"L")) for size in header["shape"].split(b",") if size.strip()
    )
    if len(shape) != 3:
        raise _wrong_kind(header)
    num_crops, height, width = shape
    if not 1 <= num_crops <= max_crops:
        raise Problem(422, f"the array holds {num_crops} crops; send 1 to {max_crops}")
    check_size(width, height)
    num_bytes = num_crops * height * width
    if len(body) - start != num_bytes:
        raise Problem(
            400, f"the array's data has {len(body) - start} bytes; {num_bytes} are needed"
        )
    return list(np.frombuffer(body, dtype=np.uint8, offset=start).reshape(shape))


def _header(body: bytes) -> tuple[dict[str, bytes], int]:
    """The header's three values as text, and where the data start."""
    # Byte 6 is the major version: from 2 on, the length has four bytes.
    num_length_bytes = {b"\1": 2, b"\2": 4, b"\3": 4}.get(body[6:7], 0)
    start = 8 + num_length_bytes
    if not body.startswith(_MAGIC) or not num_length_bytes or len(body) < start:
        raise Problem(400, "the body is not an .npy file; write it with numpy.save")
    length = int.from_bytes(body[8:start], "little")
    if length > min(_MAX_HEADER_BYTES, len(body) - start):
        raise Problem(
            400,
            f"the .npy file's header has {length} bytes; at most {_MAX_HEADER_BYTES} are read, and "
            f"{len(body) - start} were sent",
        )
    return _parse_header(body[start : start + length]), start + length


def _parse_header(text: bytes) -> dict[str, bytes]:
    match = _HEADER.fullmatch(text)
    groups = match.groups() if match else ()
    values = {
        groups[at]: (groups[at + 1] or groups[at + 2] or groups[at + 3] or b"")
        for at in range(0, len(groups), 4)
    }
    if set(values) != {b"descr", b"fortran_order", b"shape"}:
        raise Problem(
            400,
            f"the .npy file's header is {text[:80].decode('latin-1')!r}; it needs descr, "
            "fortran_order and shape, of a plain array",
        )
    header = {name.decode(): value.strip(b"'") for name, value in values.items()}
    if not _SIZES.fullmatch(header["shape"]):
        raise _wrong_kind(header)
    return header


def _wrong_kind(header: dict[str, bytes]) -> Problem:
    descr, order, shape = (
        header[name].decode("latin-1") for name in ("descr", "fortran_order", "shape")
    )
    return Problem(
        422,
        f"the array is {descr} of shape ({shape}), fortran_order {order}; send uint8 (N, H, W) in "
        "C order",
    )
