"""What one answered crop leaves behind, and what training leaves for the drift reference.

Two contracts live here, because both sides of each may import this module and nothing heavier:

* `CaptureRecord`: serving fills one per answered crop and hands it to `capture.Spool`.
* `write_predictions`: training saves its validation predictions with it, and
  ``python -m monitoring reference`` turns that file into the champion's ``reference.parquet``.

This module knows nothing about files on a server, Parquet or drift.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RECORD_VERSION = 3  # layout of an encoded record; a reader refuses what it does not know
_READABLE = (1, 2, RECORD_VERSION)  # version 1 had no files, and both wrote every crop out
NUM_CLASSES = 10
IMAGE_SIDE_PX = 28

_NO_DIGIT = 255
_MOST_PARTS = 65_535
_ACCEPTED, _INVERTED, _PASSED_THROUGH = 1, 2, 4
_HAS_IMAGE, _HAS_PROBS, _HAS_CROP, _HAS_FILE, _CROP_IS_IMAGE = 8, 16, 32, 64, 128
_UINT8 = np.dtype(np.uint8)
_NEGATIVE = bytes(range(255, -1, -1))  # grey level -> that of dark for light

# version, flags, digit, parts kept, parts dropped, edges touched, index, time, crop height and
# width, aspect, confidence, threshold, garbage, seven stage times, the lengths of four strings
_HEADER = struct.Struct("<BBBHHBIqHH4f7f4B")
_PROBS = struct.Struct(f"<{NUM_CLASSES}f")


class RecordError(ValueError):
    """Bytes that are not an encoded record of a version known here."""


@dataclass(slots=True, eq=False)  # not frozen: that takes 2.5 us more to fill, for every answer
class CaptureRecord:
    """One answered crop. Times are milliseconds; a stage that did not run took 0.

    Nobody changes one once it is filled. `request_id` and `index` together are the key: a request
    with many crops leaves one record for each, numbered from 0. A blank crop has neither image nor
    probabilities.
    """

    request_id: str  # at most 255 bytes of UTF-8, as all strings here
    index: int
    time_us: int  # wall clock, microseconds since 1970 UTC
    site: str
    model_version: str
    digit: int | None  # the most probable one, also when rejected; None when blank
    confidence: float
    accepted: bool
    rejected_because: str | None  # low_confidence | blank | not_a_digit
    threshold: float  # the accept threshold in force
    garbage: float  # raw score, higher is less like a digit; -inf when the model has none
    probs: Sequence[float]  # one for each digit; empty when blank
    image: NDArray[np.uint8] | None  # (28, 28), what the model saw times 255
    # As sent: (H, W) grey pixels, or of a large crop its PNG file without metadata, less to write;
    # None when originals are not kept.
    crop: bytes | NDArray[np.uint8] | None
    inverted: bool  # light ink on dark paper
    passed_through: bool  # already framed as MNIST does, and left alone
    num_parts: int  # separate pieces of ink kept
    num_dropped: int  # separate pieces of ink taken for dirt, lines or neighbours
    aspect: float  # width / height of the ink
    edges_touched: int  # how many of the crop's four edges the ink reaches
    guard_ms: float
    decode_ms: float
    preprocess_ms: float
    queue_ms: float
    inference_ms: float
    decision_ms: float
    total_ms: float  # from the first byte to the moment of capture


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


def encode(record: CaptureRecord, *, with_crop: bool = True) -> bytes:
    """Lay a record out.

    Raises:
        RecordError: a string is longer than 255 bytes, or an array has the wrong shape or dtype.
    """
    request_id, site = record.request_id.encode(), record.site.encode()
    model_version, reason = record.model_version.encode(), (record.rejected_because or "").encode()
    probs = record.probs
    image, flags = _image_bytes(record.image)
    crop, height, width, crop_flags = b"", 0, 0, 0
    if with_crop and record.crop is not None:
        crop, height, width, crop_flags = _crop_bytes(record, image)
    try:
        header = _HEADER.pack(
            RECORD_VERSION,
            record.accepted
            | record.inverted << 1
            | record.passed_through << 2
            | (_HAS_PROBS if probs else 0)
            | flags
            | crop_flags,
            _NO_DIGIT if record.digit is None else record.digit,
            min(record.num_parts, _MOST_PARTS),
            min(record.num_dropped, _MOST_PARTS),
            record.edges_touched,
            record.index,
            record.time_us,
            height,
            width,
            record.aspect,
            record.confidence,
            record.threshold,
            record.garbage,
            record.guard_ms,
            record.decode_ms,
            record.preprocess_ms,
            record.queue_ms,
            record.inference_ms,
            record.decision_ms,
            record.total_ms,
            len(request_id),
            len(site),
            len(model_version),
            len(reason),
        )
        packed_probs = _PROBS.pack(*probs) if probs else b""
    except struct.error as error:
        raise RecordError(
            f"record {record.request_id!r} does not fit its layout: {error}"
        ) from error
    return b"".join((header, request_id, site, model_version, reason, packed_probs, image, crop))


def decode(data: bytes) -> CaptureRecord:
    """Read back what `encode` laid out.

    Raises:
        RecordError: the bytes are short, long, or of another version.
    """
    if len(data) < _HEADER.size or data[0] not in _READABLE:
        raise RecordError(
            f"{len(data)} bytes starting {data[:1]!r}: not a record of version {_READABLE}"
        )
    (_, flags, digit, num_parts, num_dropped, edges_touched, index, time_us, *rest) = (
        _HEADER.unpack_from(data)
    )
    height, width, aspect, confidence, threshold, garbage, *stages = rest[:13]
    reader = _Reader(data, _HEADER.size)
    request_id, site, model_version, reason = (reader.text(length) for length in rest[13:])
    probs = reader.probs() if flags & _HAS_PROBS else ()
    image = reader.pixels(IMAGE_SIDE_PX, IMAGE_SIDE_PX) if flags & _HAS_IMAGE else None
    crop: bytes | NDArray[np.uint8] | None = None
    if flags & _HAS_CROP:
        file_bytes = height << 16 | width
        crop = reader.take(file_bytes) if flags & _HAS_FILE else reader.pixels(height, width)
    elif flags & _CROP_IS_IMAGE and image is not None:
        crop = ~image if flags & _INVERTED else image
    if reader.position != len(data):
        raise RecordError(
            f"record of {len(data)} bytes, but its header describes {reader.position}"
        )
    return CaptureRecord(
        request_id=request_id,
        index=index,
        time_us=time_us,
        site=site,
        model_version=model_version,
        digit=None if digit == _NO_DIGIT else digit,
        confidence=confidence,
        accepted=bool(flags & _ACCEPTED),
        rejected_because=reason or None,
        threshold=threshold,
        garbage=garbage,
        probs=probs,
        image=image,
        crop=crop,
        inverted=bool(flags & _INVERTED),
        passed_through=bool(flags & _PASSED_THROUGH),
        num_parts=num_parts,
        num_dropped=num_dropped,
        aspect=aspect,
        edges_touched=edges_touched,
        guard_ms=stages[0],
        decode_ms=stages[1],
        preprocess_ms=stages[2],
        queue_ms=stages[3],
        inference_ms=stages[4],
        decision_ms=stages[5],
        total_ms=stages[6],
    )


def _image_bytes(image: NDArray[np.uint8] | None) -> tuple[bytes, int]:
    """The image as it is laid out, and its flag."""
    if image is None:
        return b"", 0
    if image.shape != (IMAGE_SIDE_PX, IMAGE_SIDE_PX) or image.dtype != _UINT8:
        raise RecordError(f"image is {image.dtype} {image.shape}; it must be uint8 (28, 28)")
    return image.tobytes(), _HAS_IMAGE


def _crop_bytes(record: CaptureRecord, image: bytes) -> tuple[bytes, int, int, int]:
    """The crop as it is laid out, two numbers that tell its size, and its flags.

    A crop that was framed already is its image, perhaps light for dark: it is not written twice.
    """
    crop = record.crop
    if isinstance(crop, bytes):
        return crop, *divmod(len(crop), 1 << 16), _HAS_CROP | _HAS_FILE
    assert crop is not None
    if crop.ndim != 2 or crop.dtype != _UINT8:
        raise RecordError(f"crop is {crop.dtype} {crop.shape}; it must be uint8 (H, W)")
    height, width = crop.shape
    pixels = crop.tobytes()
    if record.passed_through and image and height == width == IMAGE_SIDE_PX:
        as_seen = pixels.translate(_NEGATIVE) if record.inverted else pixels
        if as_seen == image:
            return b"", 0, 0, _CROP_IS_IMAGE
    return pixels, height, width, _HAS_CROP


class _Reader:
    """Walks through a record's bytes, never past their end."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self.position = position

    def text(self, length: int) -> str:
        return self.take(length).decode()

    def probs(self) -> tuple[float, ...]:
        return _PROBS.unpack(self.take(_PROBS.size))

    def pixels(self, height: int, width: int) -> NDArray[np.uint8]:
        return np.frombuffer(self.take(height * width), dtype=np.uint8).reshape(height, width)

    def take(self, length: int) -> bytes:
        end = self.position + length
        if end > len(self._data):
            raise RecordError(f"record ends at byte {len(self._data)}, before byte {end}")
        taken = self._data[self.position : end]
        self.position = end
        return taken


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """A model's answers on data whose truth is known: what a drift reference is made from.

    Take validation data, never the test set and never training data. `crops` are the pictures
    before preprocessing, of any size, dark or light; `images` what the model saw.
    """

    model_version: str
    threshold: float
    garbage_threshold: float
    crops: list[NDArray[np.uint8]]  # N of (H, W)
    images: NDArray[np.uint8]  # (N, 28, 28), `to_uint8` of the model's input
    probs: NDArray[np.float32]  # (N, 10), after the temperature
    garbage: NDArray[np.float32]  # (N,), -inf when the model has no such output
    labels: NDArray[np.int64]  # (N,)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Save predictions as a compressed .npz: a flat array of crop pixels beside their shapes."""
    crops = predictions.crops
    np.savez_compressed(
        path,
        model_version=np.array(predictions.model_version),
        threshold=np.array(predictions.threshold),
        garbage_threshold=np.array(predictions.garbage_threshold),
        crop_pixels=np.concatenate([crop.ravel() for crop in crops]),
        crop_shapes=np.array([crop.shape for crop in crops], dtype=np.int32),
        images=predictions.images,
        probs=predictions.probs,
        garbage=predictions.garbage,
        labels=predictions.labels,
    )


def read_predictions(path: Path) -> Predictions:
    """Load what `write_predictions` saved; nothing in it is unpickled."""
    with np.load(path, allow_pickle=False) as saved:
        shapes = saved["crop_shapes"]
        ends = np.cumsum(shapes.prod(axis=1))
        flat = np.split(saved["crop_pixels"], ends[:-1])
        return Predictions(
            model_version=str(saved["model_version"]),
            threshold=float(saved["threshold"]),
            garbage_threshold=float(saved["garbage_threshold"]),
            crops=[pixels.reshape(shape) for pixels, shape in zip(flat, shapes, strict=True)],
            images=saved["images"],
            probs=saved["probs"],
            garbage=saved["garbage"],
            labels=saved["labels"],
        )
