"""A Parquet column of crops -> crops: which column it is, and how its type is read. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bulk.inputs import Crop, SourceError
from model.decode import check_size
from model.errors import CropError, UnreadableCrop

CROP_NAMES: Final = ("crop", "image", "png", "crop_png", "picture", "bytes", "pixels")
NAME_NAMES: Final = ("name", "id", "key", "read_id", "file", "filename", "path")


_GIVE: Final = (
    "Give --crop-column, one of PNG or JPEG bytes, or of uint8 arrays: height x width, or a flat "
    "square"
)


@dataclass(frozen=True, slots=True)
class CropColumn:
    """The two columns that are read."""

    crop: str
    name: str | None  # None: rows are named by file and number


def find_columns(schema: pa.Schema, crop: str | None, name: str | None) -> CropColumn:
    """The columns by the caller's names, or by the usual ones.

    Raises:
        SourceError: there is no such column, or its type holds no crops.
    """
    has = ", ".join(f"{field.name} ({field.type})" for field in schema)
    for wanted in (crop, name):
        if wanted is not None and wanted not in schema.names:
            raise SourceError(f"there is no column {wanted!r}; there are {has}")
        if schema.names.count(wanted) > 1:
            raise SourceError(f"several columns are named {wanted!r}; rename them, there are {has}")
    if name is not None and not _is_name(schema.field(name).type):
        raise SourceError(f"column {name!r} is {schema.field(name).type}; give one of plain values")
    single = [field for field in schema if schema.names.count(field.name) == 1]
    readable = [field.name for field in single if is_readable(field.type)]
    if crop is None:
        usual = [one for one in CROP_NAMES if one in readable]
        if not usual and len(readable) != 1:
            raise SourceError(f"which column has the crops? {_GIVE}; there are {has}")
        crop = (usual or readable)[0]
    if crop not in readable:
        raise SourceError(f"column {crop!r} is {schema.field(crop).type}. {_GIVE}")
    if name is None:
        named = [field.name for field in single if field.name != crop and _is_name(field.type)]
        name = next((one for one in NAME_NAMES if one in named), None)
    return CropColumn(crop, name)


def is_readable(kind: pa.DataType) -> bool:
    """Whether values of a type are crops: bytes, a struct with them, or arrays of uint8."""
    if isinstance(kind, pa.BaseExtensionType):
        return is_readable(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _is_bytes(kind.value_type)
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0) and is_readable(kind.field("bytes").type)
    if _is_list(kind):
        inner = kind.value_type.value_type if _is_list(kind.value_type) else kind.value_type
        return bool(pa.types.is_uint8(inner))
    return _is_bytes(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _is_name(kind: pa.DataType) -> bool:
    """Whether a value can be written as text."""
    if pa.types.is_dictionary(kind):
        return _is_name(kind.value_type)
    return not isinstance(kind, pa.BaseExtensionType) and not pa.types.is_nested(kind)


def names_of(column: pa.Array) -> list[str | None]:
    """The names of a batch, as text; a byte that is no UTF-8 is written as its number."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if _is_bytes(column.type):
        return [
            None if one is None else one.decode(errors="backslashreplace")
            for one in column.to_pylist()
        ]
    found: list[str | None] = column.cast(pa.string()).to_pylist()
    return found


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def crops_of(column: pa.Array) -> Sequence[Crop]:
    """The crops of a batch; a null is an error in its place."""
    shape: tuple[int, ...] = ()
    if isinstance(column, pa.ExtensionArray):
        shape = tuple(getattr(column.type, "shape", ()))
        column = column.storage
    if pa.types.is_struct(column.type):
        column = column.field("bytes") if not column.null_count else _of_struct(column)
    if not _is_list(column.type):
        return [_missing() if one is None else one for one in column.to_pylist()]
    if pa.types.is_fixed_size_list(column.type) and not column.null_count:
        flat = column.flatten()
        if not _is_list(flat.type) and not flat.null_count:
            return _squares(flat.to_numpy().reshape(len(column), -1), shape)
    return [_array(one, shape) for one in column]


def _of_struct(column: pa.Array) -> pa.Array:
    return pa.array(
        [None if one is None else one["bytes"] for one in column.to_pylist()], pa.large_binary()
    )


def _missing() -> UnreadableCrop:
    return UnreadableCrop("the row has no crop: its value is null")


def _squares(flat: NDArray[np.uint8], shape: tuple[int, ...]) -> Sequence[Crop]:
    """(N, pixels) of one size."""
    try:
        height, width = _sides(flat.shape[1], shape)
    except CropError as error:
        return [error] * len(flat)
    return list(flat.reshape(-1, height, width))


def _sides(num_pixels: int, shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width. Raises CropError."""
    if not shape:
        side = math.isqrt(num_pixels)
        if side * side != num_pixels:
            raise UnreadableCrop(
                f"a flat array of {num_pixels} pixels is no square; store height x width"
            )
        shape = (side, side)
    shape = tuple(side for side in shape if side != 1)
    if len(shape) != 2:
        raise UnreadableCrop(f"an array of shape {shape} is no crop; store height x width")
    check_size(shape[1], shape[0])
    return shape


def _array(value: pa.Scalar, shape: tuple[int, ...]) -> Crop:
    """One list, or list of rows; whatever is wrong with it is this row's error."""
    if not value.is_valid:
        return _missing()
    try:
        found: NDArray[Any] = np.array(value.as_py(), np.uint8)
    except (TypeError, ValueError):
        return UnreadableCrop("rows of the array differ in length, or have nulls")
    try:
        return found.reshape(_sides(found.size, shape or (found.shape if found.ndim > 1 else ())))
    except CropError as error:
        return error
