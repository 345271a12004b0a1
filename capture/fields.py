"""The rows of a record's table: each field of its dataclass has `captured` as metadata.

The kind decides how it is encoded (`capture.codec`) and which Parquet type it becomes
(`capture.parquet_schema`). A field that is added gets ``since=`` the next version and a default,
which older records are read with.

Knows nothing about what the fields of a record mean.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from enum import Enum, auto
from typing import Final, NamedTuple

OLDEST_VERSION: Final = 1
# Versions 1, 2 and 3 have the same header. 2 added crops as files; 3 omits a crop that equals its
# image. 4 added the read id and the scale of the crop. 5 added the probability of the audit mark
# and whether the request was bulk. 6 added the challenger's answer. 7 added the
# letter's deadline. 8 added whether the crop is a digit of a field.
BASE_VERSION: Final = 3


class Kind(Enum):
    """What a field holds. The header has its fields in this order."""

    FLAG = auto()  # bool, a bit of the flags
    DIGIT = auto()  # int or None
    COUNT = auto()
    EDGES = auto()  # 0 to 4
    INDEX = auto()
    TIME = auto()  # microseconds since 1970 UTC
    OPTIONAL_TIME = auto()  # the same or None
    CROP = auto()  # (H, W) uint8, or a file's bytes; None when not kept
    RATIO = auto()
    PROBABILITY = auto()
    SCORE = auto()  # -inf when the model has none
    MILLISECONDS = auto()
    TEXT = auto()  # at most 255 bytes of UTF-8
    OPTIONAL_TEXT = auto()
    PROBS = auto()  # one for each digit; empty when blank
    IMAGE = auto()  # (28, 28) uint8; None when blank


# CROP stores height and width, or the file size in 4 bytes; TEXT stores its length.
_HEADER_FORMATS: Final = {
    Kind.FLAG: "",
    Kind.DIGIT: "B",
    Kind.COUNT: "H",
    Kind.EDGES: "B",
    Kind.INDEX: "I",
    Kind.TIME: "q",
    Kind.OPTIONAL_TIME: "q",
    Kind.CROP: "HH",
    Kind.RATIO: "f",
    Kind.PROBABILITY: "f",
    Kind.SCORE: "f",
    Kind.MILLISECONDS: "f",
    Kind.TEXT: "B",
    Kind.OPTIONAL_TEXT: "B",
    Kind.PROBS: "",
    Kind.IMAGE: "",
}
_KIND_ORDER: Final = list(_HEADER_FORMATS)
TEXTS: Final = (Kind.TEXT, Kind.OPTIONAL_TEXT)
_METADATA: Final = "captured"


class Field(NamedTuple):
    """What a record's table says of one field."""

    name: str
    kind: Kind
    help: str
    column: str | None  # its name in Parquet; None: it is no column
    of: str | None  # the builder's argument that has it; None: it is an argument itself
    since: int  # the first version with it


def captured(
    kind: Kind,
    text: str,
    *,
    column: str | None = "",
    of: str | None = None,
    since: int = BASE_VERSION,
) -> dict[str, Field]:
    """Make the metadata of a record's field.

    Args:
        kind: what it holds.
        text: help text, shown in Parquet's schema and in docs/monitoring.md.
        column: its name in Parquet; the field's own if empty, no column if None.
        of: the argument of the builder (decision, framed, stages) whose attribute it is.
        since: the first version of the layout that has it.
    """
    return {_METADATA: Field("", kind, text, column, of, since)}


def fields_of(record_class: type) -> list[Field]:
    """List the table's rows in the order of declaration, which is the order of the columns."""
    found = []
    for field in dataclasses.fields(record_class):
        row: Field = field.metadata[_METADATA]
        column = field.name if row.column == "" else row.column
        found.append(row._replace(name=field.name, column=column))
    return found


def version_of(record_class: type) -> int:
    """The version that an encoder writes."""
    return max(field.since for field in fields_of(record_class))


def header_fields(record_class: type, version: int) -> list[Field]:
    """The fields of a version in the order of its header: by kind, then as declared."""
    known = [
        field for field in fields_of(record_class) if field.since <= max(version, BASE_VERSION)
    ]
    return sorted(known, key=lambda field: _KIND_ORDER.index(field.kind))


def header_format(field: Field) -> str:
    """The `struct` format of a field's part of the header."""
    if field.kind is Kind.FLAG and field.since > BASE_VERSION:
        return "?"  # all bits of the flags are taken
    return _HEADER_FORMATS[field.kind]


def flag_bits(fields: Sequence[Field]) -> dict[str, int]:
    """Field -> its bit of the flags."""
    names = [field.name for field in fields if field.kind is Kind.FLAG and not header_format(field)]
    return {name: 1 << bit for bit, name in enumerate(names)}
