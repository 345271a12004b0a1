"""The columns of a captured record in Parquet: one table, versioned, each column explained.

The columns of fields come from the record's table, in its order. A column is only ever added. A
changed meaning is a new name, and a new `SCHEMA_VERSION`. `day` and `site` are Hive partitions:
they are in the path and not in the file. Knows nothing about where the files are.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from capture.features import CROP_FEATURES, IMAGE_FEATURES, SCORE_FEATURES
from capture.fields import Kind, fields_of
from capture.record import CaptureRecord

SCHEMA_VERSION: Final = 1

_TYPES: Final = {
    Kind.FLAG: pa.bool_(),
    Kind.DIGIT: pa.int8(),
    Kind.COUNT: pa.int32(),
    Kind.EDGES: pa.int8(),
    Kind.INDEX: pa.int32(),
    Kind.TIME: pa.timestamp("us", tz="UTC"),
    Kind.OPTIONAL_TIME: pa.timestamp("us", tz="UTC"),
    Kind.CROP: pa.binary(),
    Kind.RATIO: pa.float32(),
    Kind.PROBABILITY: pa.float32(),
    Kind.SCORE: pa.float32(),
    Kind.MILLISECONDS: pa.float32(),
    Kind.TEXT: pa.string(),
    Kind.OPTIONAL_TEXT: pa.string(),
    Kind.PROBS: pa.list_(pa.float32()),
    Kind.IMAGE: pa.binary(),
}
SAMPLE_KEY: Final = "sample_key"  # computed from the key, beside it
_SAMPLE_KEY_HELP: Final = "hash of the key in [0, 2**32); rows below a bound are a fair sample"
_FEATURE_HELP: Final = {
    "ink_mass": "image: share of the frame that is ink",
    "stroke_width_px": "image: twice the ink's area divided by its outline",
    "slant_deg": "image: angle of the ink's axis, positive leaning right",
    "grey_edge_share": "image: share of ink pixels that are neither paper nor full ink",
    "sharpness": "crop: steepest edge divided by the contrast",
    "contrast": "crop: grey levels between paper and ink, divided by 255",
    "paper_grey": "crop: median grey of the paper, divided by 255",
    "paper_grain": "crop: standard deviation of the paper's grey, divided by 255",
    "margin": "crop: mean width of the empty border, divided by the side",
    "height_px": "crop: height as sent",
    "entropy": "probabilities: entropy in bits",
    "gap": "probabilities: the highest minus the second",
}
FEATURES: Final = (*IMAGE_FEATURES, *CROP_FEATURES, *SCORE_FEATURES)


def schema_of(record_class: type) -> pa.Schema:
    """The schema of a record's table: its fields, the sample key and the features."""
    columns = [
        _column(field.column, _TYPES[field.kind], field.help)
        for field in fields_of(record_class)
        if field.column
    ]
    after_key = 1 + [column.name for column in columns].index("crop_index")
    columns.insert(after_key, _column(SAMPLE_KEY, pa.int64(), _SAMPLE_KEY_HELP))
    columns += [_column(name, pa.float32(), _FEATURE_HELP[name]) for name in FEATURES]
    return pa.schema(columns, metadata={"digitline_schema": str(SCHEMA_VERSION)})


def _column(name: str, kind: pa.DataType, text: str) -> pa.Field:
    return pa.field(name, kind, metadata={"help": text})


SCHEMA: Final = schema_of(CaptureRecord)


def describe() -> str:
    """Write the schema as the Markdown table of docs/monitoring.md."""
    rows = [
        f"| `{field.name}` | {field.type} | {field.metadata[b'help'].decode()} |"
        for field in SCHEMA
    ]
    return "\n".join(["| column | type | meaning |", "|---|---|---|", *rows])
