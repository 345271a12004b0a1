"""Finished spool segments -> Parquet in the store, then the segment is deleted.

At least once: a kill between the two leaves the segment, and shipping it again writes the same
names. Crops are re-encoded here, so only grey pixels are stored. Features are computed here, so
reports need no pixels. Knows nothing about serving.
"""

from __future__ import annotations

import io
import logging
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from capture import features
from capture.archive import PARQUET, encode, partition, sample_key
from capture.codec import RecordError
from capture.fields import Field, Kind, fields_of
from capture.parquet_schema import SAMPLE_KEY, schema_of
from capture.record import CaptureRecord
from capture.segments import live_segments, measure, read_segment, recover, sealed_segments
from capture.store import Store, StoreError
from contract import emf
from model.decode import decode
from model.errors import CropError

log = logging.getLogger(__name__)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RETRY_FIRST_S, _RETRY_LAST_S = 1.0, 60.0
_METRICS_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Shipped:
    """What one pass over the spool did."""

    num_segments: int = 0
    num_records: int = 0
    bad_bytes: int = 0  # damaged, skipped


def ship_once(spool: Path, store: Store) -> Shipped:
    """Ship every finished segment, oldest first, and those of dead processes.

    Raises:
        StoreError: the store failed; what was not shipped is still in the spool.
    """
    recover(spool)
    total = Shipped()
    for segment in sealed_segments(spool):
        done = _ship_segment(segment, store)
        total = Shipped(
            total.num_segments + done.num_segments,
            total.num_records + done.num_records,
            total.bad_bytes + done.bad_bytes,
        )
    return total


@dataclass(frozen=True, slots=True)
class FollowSettings:
    """How often the sidecar polls, and how long it drains."""

    poll_s: float = 5.0
    grace_s: float = 50.0  # after SIGTERM, time for the service to drain and finish its segment


def follow(
    spool: Path,
    store: Store,
    settings: FollowSettings,
    stop: threading.Event,
    *,
    emit: Callable[[str], None] = print,
) -> int:
    """Ship until `stop` is set, then until nothing is left or `grace_s` is over.

    A failing store is retried after 1, 2, 4, ... 60 s, each with jitter.

    Returns:
        Number of segments that were not shipped.
    """
    delay_s, deadline_s, metrics_due_s = _RETRY_FIRST_S, float("inf"), 0.0
    while True:
        try:
            done = ship_once(spool, store)
            delay_s, wait_s = _RETRY_FIRST_S, settings.poll_s
            if done.num_segments:
                log.info("shipped %s", done)
        except StoreError as error:
            wait_s = delay_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
            delay_s = min(2 * delay_s, _RETRY_LAST_S)
            log.error("%s; retry in %.1f s", error, wait_s)  # noqa: TRY400
        now_s = time.monotonic()
        if now_s >= metrics_due_s:
            emit(emf.line({"CaptureBacklogBytes": backlog_bytes(spool)}))
            metrics_due_s = now_s + _METRICS_EVERY_S
        if stop.is_set():
            deadline_s = min(deadline_s, now_s + settings.grace_s)
            left = len(sealed_segments(spool))
            if now_s >= deadline_s or not (left or live_segments(spool)):
                return left
            time.sleep(min(wait_s, 1.0))
        else:
            stop.wait(wait_s)


def backlog_bytes(spool: Path) -> int:
    """Size of the segments that are not shipped yet."""
    sizes = []
    for path in spool.glob("*-*"):
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:  # shipped meanwhile
            continue
    return sum(sizes)


def _ship_segment(segment: Path, store: Store) -> Shipped:
    try:
        found = list(read_segment(segment))
    except FileNotFoundError:  # another shipper took it
        return Shipped()
    except RecordError as error:
        segment.rename(segment.with_suffix(".bad"))
        log.error("%s set aside as .bad: %s", segment.name, error)  # noqa: TRY400
        return Shipped(bad_bytes=segment.with_suffix(".bad").stat().st_size)
    bad_bytes = measure(segment).bad_bytes
    for (day, site), group in group_by_partition(found).items():
        key = f"{partition(day, site)}/{segment.stem}.parquet"
        store.put(key, encode(to_table(group)), content_type=PARQUET)
    segment.unlink(missing_ok=True)
    return Shipped(1, len(found), bad_bytes)


def group_by_partition(found: list[CaptureRecord]) -> dict[tuple[str, str], list[CaptureRecord]]:
    """(day, site) -> its records."""
    groups: dict[tuple[str, str], list[CaptureRecord]] = defaultdict(list)
    for record in found:
        groups[day_of(record.time_us), record.site].append(record)
    return groups


def day_of(time_us: int) -> str:
    """The UTC day of a time in microseconds since 1970, as 2026-11-21."""
    return (_EPOCH + timedelta(microseconds=time_us)).date().isoformat()


def to_table(found: list[CaptureRecord]) -> pa.Table:
    """Turn records of one class into rows of its schema, with their features."""
    schema = schema_of(type(found[0]))
    fields = [(field.column, field) for field in fields_of(type(found[0])) if field.column]
    columns: dict[str, list[object]] = {name: [] for name in schema.names}
    of_crops: list[NDArray[np.float32] | None] = []
    for record in found:
        crop = _pixels(record)  # one at a time: a segment's files are much larger as pixels
        of_crops.append(None if crop is None else features.crop_features(crop))
        for column, field in fields:
            columns[column].append(_cell(field, record, crop))
        columns[SAMPLE_KEY].append(sample_key(record.request_id, record.index))
    columns |= _feature_columns(found, of_crops)
    return pa.table(
        [pa.array(columns[field.name], type=field.type) for field in schema], schema=schema
    )


def _cell(field: Field, record: CaptureRecord, crop: NDArray[np.uint8] | None) -> object:
    """A field's value as its column stores it."""
    value: Any = crop if field.kind is Kind.CROP else getattr(record, field.name)
    if value is None:
        return None
    match field.kind:
        case Kind.CROP | Kind.IMAGE:
            return to_png(value)
        case Kind.TIME:
            return _EPOCH + timedelta(microseconds=value)
        case Kind.SCORE:
            return value if np.isfinite(value) else None
        case Kind.PROBS:
            return value or None
    return value


def _pixels(record: CaptureRecord) -> NDArray[np.uint8] | None:
    """The crop as sent, as (H, W) grey; None where its file cannot be read.

    The service has decoded the file before, so this is a bug; it must not stop other records.
    """
    if not isinstance(record.crop, bytes):
        return record.crop
    try:
        return decode(record.crop)
    except CropError as error:
        log.error(  # noqa: TRY400
            "the crop of %s does not decode and is not archived: %s", record.request_id, error
        )
        return None


def _feature_columns(
    found: list[CaptureRecord], of_crops: list[NDArray[np.float32] | None]
) -> dict[str, list[object]]:
    """Compute the feature columns; null where a record has no image, crop or probabilities."""
    blank = np.zeros((28, 28), np.uint8)
    images = np.stack([blank if record.image is None else record.image for record in found])
    no_probs = (1.0,) + (0.0,) * 9
    probs = np.array([record.probs or no_probs for record in found], np.float32)
    no_crop = np.full(len(features.CROP_FEATURES), np.nan, np.float32)
    filled = [no_crop if one is None else one for one in of_crops]
    return {
        **_named(
            features.IMAGE_FEATURES,
            features.image_features(images),
            [record.image is not None for record in found],
        ),
        **_named(features.CROP_FEATURES, np.stack(filled), [one is not None for one in of_crops]),
        **_named(
            features.SCORE_FEATURES, features.score_features(probs), [bool(r.probs) for r in found]
        ),
    }


def _named(
    names: tuple[str, ...], values: NDArray[np.float32], is_known: list[bool]
) -> dict[str, list[object]]:
    return {
        name: [
            value if known else None
            for value, known in zip(values[:, column].tolist(), is_known, strict=True)
        ]
        for column, name in enumerate(names)
    }


def to_png(grey: NDArray[np.uint8]) -> bytes:
    """Encode (H, W) grey pixels as PNG, with nothing but the pixels."""
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()
