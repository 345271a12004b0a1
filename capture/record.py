"""The record of one answered crop. Serving fills a record and hands it to the spool.

`CaptureRecord` is the one table of its fields: encoding, decoding and the Parquet schema follow
from it. To add a field, add a row with ``since=9`` (the next version) and a default, and measure
its value in `Framed`, `Decision`, `StageTimes` or the sink.

Knows nothing about files, Parquet or drift.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from capture.codec import make_builder, make_decoder, make_encoder, make_size_reader
from capture.fields import Kind, captured


@dataclass(slots=True, eq=False)  # filled by assignment, which takes half as long as 7 keywords
class StageTimes:
    """Milliseconds that each stage of one answer took; 0 for a stage that did not run."""

    guard_ms: float = 0.0
    decode_ms: float = 0.0
    preprocess_ms: float = 0.0
    queue_ms: float = 0.0
    inference_ms: float = 0.0
    decision_ms: float = 0.0
    total_ms: float = 0.0


# Not frozen: filling a frozen one takes 2.5 us longer, for every answer
# (python -m monitoring bench).
@dataclass(slots=True, eq=False, kw_only=True)
class CaptureRecord:
    """One answered crop; not changed once it is filled.

    `read_id` and `index` together are the key: a request with many crops leaves one record for
    each. Records from before version 4 have no read id: there the request id was the key. A blank
    crop has neither image nor probabilities.
    """

    read_id: str = field(
        default="",
        metadata=captured(
            Kind.TEXT, "the read's own id, made by the service; with crop_index the key", since=4
        ),
    )
    request_id: str = field(
        metadata=captured(Kind.TEXT, "the caller's X-Request-Id; the read id if none was sent")
    )
    index: int = field(
        metadata=captured(
            Kind.INDEX, "place of the crop in its request, from 0", column="crop_index"
        )
    )
    time_us: int = field(metadata=captured(Kind.TIME, "when it was answered", column="time"))
    deadline_us: int | None = field(
        default=None,
        metadata=captured(
            Kind.OPTIONAL_TIME,
            "when the letter can wait no longer, by its X-Deadline-Ms; null when none was sent",
            column="deadline",
            since=7,
        ),
    )
    # In Parquet a partition of the path, no column.
    site: str = field(metadata=captured(Kind.TEXT, "which deployment answered", column=None))
    model_version: str = field(metadata=captured(Kind.TEXT, "which model answered"))
    digit: int | None = field(
        metadata=captured(
            Kind.DIGIT, "most probable digit, also when rejected; null when blank", of="decision"
        )
    )
    confidence: float = field(
        metadata=captured(Kind.PROBABILITY, "its probability; 0 when blank", of="decision")
    )
    accepted: bool = field(
        metadata=captured(Kind.FLAG, "whether a machine may act on the digit", of="decision")
    )
    rejected_because: str | None = field(
        metadata=captured(
            Kind.OPTIONAL_TEXT,
            "low_confidence, blank, not_a_digit, code_rejected or site_on_hold; null when accepted",
            of="decision",
        )
    )
    threshold: float = field(metadata=captured(Kind.PROBABILITY, "the accept threshold in force"))
    audit_probability: float = field(
        default=0.0,
        metadata=captured(
            Kind.PROBABILITY, "with which it was marked for the audit; 0 when not marked", since=5
        ),
    )
    is_bulk: bool = field(
        default=False,
        metadata=captured(
            Kind.FLAG,
            "of a bulk request, which no scanner sends; null: not known",
            since=5,
        ),
    )
    is_field: bool = field(
        default=False,
        metadata=captured(
            Kind.FLAG,
            "a digit of a field image; image_png is made from the field, not from crop_png",
            since=8,
        ),
    )
    garbage: float = field(
        metadata=captured(Kind.SCORE, "raw not-a-digit score; null when the model has none")
    )
    probs: Sequence[float] = field(
        metadata=captured(Kind.PROBS, "one for each digit; null when blank", of="decision")
    )
    image: NDArray[np.uint8] | None = field(
        metadata=captured(
            Kind.IMAGE, "the 28x28 image the model saw; null when blank", column="image_png"
        )
    )
    # (H, W) grey pixels; a large crop is stored as its PNG file without metadata.
    crop: bytes | NDArray[np.uint8] | None = field(
        metadata=captured(
            Kind.CROP,
            "the crop as grey pixels, without metadata; null when not kept",
            column="crop_png",
        )
    )
    crop_scale: int = field(
        default=1,
        metadata=captured(
            Kind.COUNT, "side in sent pixels of a pixel of crop_png; above 1 it is reduced", since=4
        ),
    )
    inverted: bool = field(metadata=captured(Kind.FLAG, "light ink on dark paper", of="framed"))
    passed_through: bool = field(
        metadata=captured(Kind.FLAG, "the crop was in MNIST's frame and is the image", of="framed")
    )
    num_parts: int = field(
        metadata=captured(Kind.COUNT, "separate pieces of ink kept", of="framed")
    )
    num_dropped: int = field(
        metadata=captured(
            Kind.COUNT, "separate pieces of ink dropped as dirt, lines or neighbours", of="framed"
        )
    )
    aspect: float = field(metadata=captured(Kind.RATIO, "width / height of the ink", of="framed"))
    edges_touched: int = field(
        metadata=captured(Kind.EDGES, "how many edges of the crop the ink reaches", of="framed")
    )
    guard_ms: float = field(
        metadata=captured(
            Kind.MILLISECONDS, "stage time: reading and checking the request", of="stages"
        )
    )
    decode_ms: float = field(
        metadata=captured(Kind.MILLISECONDS, "stage time: bytes to crop", of="stages")
    )
    preprocess_ms: float = field(
        metadata=captured(Kind.MILLISECONDS, "stage time: crop to image", of="stages")
    )
    queue_ms: float = field(
        metadata=captured(Kind.MILLISECONDS, "stage time: waiting for the model", of="stages")
    )
    inference_ms: float = field(
        metadata=captured(Kind.MILLISECONDS, "stage time: the model", of="stages")
    )
    decision_ms: float = field(
        metadata=captured(Kind.MILLISECONDS, "stage time: logits to answer", of="stages")
    )
    total_ms: float = field(
        metadata=captured(
            Kind.MILLISECONDS, "from the request's first byte to capture", of="stages"
        )
    )

    challenger_version: str | None = field(
        default=None,
        metadata=captured(
            Kind.OPTIONAL_TEXT,
            "the model that read the crop in shadow; null when none did",
            of="challenger",
            since=6,
        ),
    )
    challenger_digit: int | None = field(
        default=None,
        metadata=captured(Kind.DIGIT, "its most probable digit", of="challenger", since=6),
    )
    challenger_confidence: float = field(
        default=0.0,
        metadata=captured(Kind.PROBABILITY, "its probability", of="challenger", since=6),
    )
    challenger_accepted: bool = field(
        default=False,
        metadata=captured(Kind.FLAG, "whether a machine would act on it", of="challenger", since=6),
    )

    def __post_init__(self) -> None:
        if not self.read_id:
            self.read_id = self.request_id


encode: Final = make_encoder(CaptureRecord)
decode: Final = make_decoder(CaptureRecord)
described_bytes: Final = make_size_reader(CaptureRecord)
build: Final = make_builder(CaptureRecord)


def to_uint8(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Turn the model's input, (1, 28, 28) or (28, 28) float32 in [0, 1], into (28, 28) uint8."""
    grey: NDArray[np.uint8] = to_uint8_many([image.reshape(1, *image.shape[-2:])])[0]
    return grey


def to_uint8_many(images: Sequence[NDArray[np.float32]]) -> NDArray[np.uint8]:
    """Turn B of the model's inputs, (1, 28, 28), into (B, 28, 28) uint8."""
    scaled = np.concatenate(images)
    scaled *= 255.0
    scaled += 0.5
    return scaled.astype(np.uint8)
