"""Captured records -> rows of the archive, with their pictures and features.

Crops are re-encoded here, so only grey pixels are stored. Features are computed here, so reports
need no pixels. Knows nothing about files.
"""

from __future__ import annotations

import io
import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from capture import features
from capture.archive import partition, sample_key
from capture.fields import Field, Kind, fields_of
from capture.parquet_schema import SAMPLE_KEY, schema_of
from capture.record import CaptureRecord
from model.decode import decode
from model.errors import CropError

log = logging.getLogger(__name__)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HEIGHT = features.CROP_FEATURES.index("height_px")
Refused = list[tuple[CaptureRecord, Exception]]


def rows_by_partition(found: Sequence[CaptureRecord]) -> tuple[dict[str, pa.Table], Refused]:
    """Make the rows of each folder of the archive.

    Returns:
        Folder -> its rows; and each record of which no row can be made, with the reason. Such a
        record costs no other its row.
    """
    groups, refused = _group(found)
    tables: dict[str, pa.Table] = {}
    for folder, group in groups.items():
        try:
            tables[folder] = to_table(group)
        except Exception:  # noqa: BLE001 - whatever it is, find whose it is
            kept, bad = _one_by_one(group)
            refused += bad
            if kept:
                tables[folder] = pa.concat_tables(kept)
    return tables, refused


def _one_by_one(group: Sequence[CaptureRecord]) -> tuple[list[pa.Table], Refused]:
    tables, refused = [], []
    for record in group:
        try:
            tables.append(to_table([record]))
        except Exception as error:  # noqa: BLE001 - of any kind: the record is kept aside
            refused.append((record, error))
    return tables, refused


def _group(found: Sequence[CaptureRecord]) -> tuple[dict[str, list[CaptureRecord]], Refused]:
    """Folder of the archive -> its records, and the records that no folder can have."""
    groups: dict[str, list[CaptureRecord]] = defaultdict(list)
    refused: Refused = []
    for record in found:
        try:
            groups[partition(day_of(record.time_us), record.site)].append(record)
        except (ValueError, OverflowError) as error:
            refused.append((record, error))
    return groups, refused


def day_of(time_us: int) -> str:
    """The UTC day of a time in microseconds since 1970, as 2026-11-21.

    Raises:
        OverflowError: it is not in the years 1 to 9999.
    """
    return (_EPOCH + timedelta(microseconds=time_us)).date().isoformat()


def to_table(found: Sequence[CaptureRecord]) -> pa.Table:
    """Turn records of one class into rows of its schema, with their features."""
    schema = schema_of(type(found[0]))
    fields = [(field.column, field) for field in fields_of(type(found[0])) if field.column]
    columns: dict[str, list[object]] = {name: [] for name in schema.names}
    of_crops: list[NDArray[np.float32] | None] = []
    for record in found:
        crop = pixels_of(record)  # one at a time: a segment's files are much larger as pixels
        of_crops.append(None if crop is None else _crop_features(record, crop))
        for column, field in fields:
            columns[column].append(_cell(field, record, crop))
        columns[SAMPLE_KEY].append(sample_key(record.read_id, record.index))
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
        case Kind.TIME | Kind.OPTIONAL_TIME:
            return _EPOCH + timedelta(microseconds=value)
        case Kind.SCORE:
            return value if np.isfinite(value) else None
        case Kind.PROBS:
            return value or None
    return value


def pixels_of(record: CaptureRecord) -> NDArray[np.uint8] | None:
    """The crop as sent, as (H, W) grey; None where its file cannot be read.

    The service has decoded the file before, so this is a bug; it must not stop other records.
    """
    if not isinstance(record.crop, bytes):
        return record.crop
    try:
        return decode(record.crop)
    except CropError as error:
        log.error(  # noqa: TRY400
            "the crop of %s does not decode and is not archived: %s", record.read_id, error
        )
        return None


def _crop_features(record: CaptureRecord, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    measured = features.crop_features(crop)
    measured[_HEIGHT] *= record.crop_scale
    return measured


def _feature_columns(
    found: Sequence[CaptureRecord], of_crops: list[NDArray[np.float32] | None]
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
