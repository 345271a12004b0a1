"""The columns of a captured record in Parquet: one table, versioned, each column explained.

A column is only ever added. A changed meaning is a new name, and a new `SCHEMA_VERSION`.
`day` and `site` are Hive partitions, part of the path and not of the file. Knows nothing about
where the files are.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from capture.features import CROP_FEATURES, IMAGE_FEATURES, SCORE_FEATURES

SCHEMA_VERSION: Final = 1

_COLUMNS: Final = (
    ("request_id", pa.string(), "with crop_index, the key; readers keep one row for each"),
    ("crop_index", pa.int32(), "place of the crop in its request, from 0"),
    ("sample_key", pa.int64(), "hash of the key in [0, 2**32): a smaller bound, a smaller sample"),
    ("time", pa.timestamp("us", tz="UTC"), "when it was answered"),
    ("model_version", pa.string(), "which model answered"),
    ("digit", pa.int8(), "most probable digit, also when rejected; null when blank"),
    ("confidence", pa.float32(), "its probability; 0 when blank"),
    ("accepted", pa.bool_(), "whether a machine may act on it"),
    ("rejected_because", pa.string(), "low_confidence, blank or not_a_digit; null when accepted"),
    ("threshold", pa.float32(), "the accept threshold in force"),
    ("garbage", pa.float32(), "raw not-a-digit score; null when the model has none"),
    ("probs", pa.list_(pa.float32()), "one for each digit; null when blank"),
    ("image_png", pa.binary(), "the 28x28 image the model saw; null when blank"),
    ("crop_png", pa.binary(), "the crop as grey pixels, metadata gone; null when not kept"),
    ("inverted", pa.bool_(), "light ink on dark paper"),
    ("passed_through", pa.bool_(), "framed as MNIST does already, and left alone"),
    ("num_parts", pa.int32(), "separate pieces of ink kept"),
    ("num_dropped", pa.int32(), "separate pieces of ink dropped as dirt, lines or neighbours"),
    ("aspect", pa.float32(), "width / height of the ink"),
    ("edges_touched", pa.int8(), "how many edges of the crop the ink reaches"),
    ("guard_ms", pa.float32(), "stage time: reading and checking the request"),
    ("decode_ms", pa.float32(), "stage time: bytes to crop"),
    ("preprocess_ms", pa.float32(), "stage time: crop to image"),
    ("queue_ms", pa.float32(), "stage time: waiting for the model"),
    ("inference_ms", pa.float32(), "stage time: the model"),
    ("decision_ms", pa.float32(), "stage time: logits to answer"),
    ("total_ms", pa.float32(), "from the first byte to capture"),
)
_FEATURE_HELP: Final = {
    "ink_mass": "image: share of the frame that is ink",
    "stroke_width_px": "image: twice the ink's area over its outline",
    "slant_deg": "image: angle of the ink's axis, positive leaning right",
    "grey_edge_share": "image: share of ink pixels neither paper nor full ink",
    "sharpness": "crop: steepest edge as a share of the contrast",
    "contrast": "crop: grey levels between paper and ink, over 255",
    "paper_grey": "crop: median grey of the paper, over 255",
    "paper_grain": "crop: spread of the paper's grey, over 255",
    "margin": "crop: mean empty border as a share of the side",
    "height_px": "crop: height as sent",
    "entropy": "probabilities: entropy in bits",
    "gap": "probabilities: first minus second",
}
FEATURES: Final = (*IMAGE_FEATURES, *CROP_FEATURES, *SCORE_FEATURES)

SCHEMA: Final = pa.schema(
    [pa.field(name, kind, metadata={"help": text}) for name, kind, text in _COLUMNS]
    + [pa.field(name, pa.float32(), metadata={"help": _FEATURE_HELP[name]}) for name in FEATURES],
    metadata={"digitline_schema": str(SCHEMA_VERSION)},
)


def describe() -> str:
    """Write the schema as the Markdown table of docs/monitoring.md."""
    rows = [
        f"| `{field.name}` | {field.type} | {field.metadata[b'help'].decode()} |"
        for field in SCHEMA
    ]
    return "\n".join(["| column | type | meaning |", "|---|---|---|", *rows])
