"""Records of other models' answers -> rows of the archive, and back to one table of a window.

    answers/day=2026-11-21/site=leeds/SEGMENT.parquet

Each feature is a column of its own, `feature_NAME`. Knows nothing about what an answer means.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import pandas as pd
import pyarrow as pa

from capture.answer_record import AnswerRecord
from capture.archive import ANSWERS, Window, decode, partition
from capture.damaged import whole_files
from capture.erasure import erased_ids, without_erased
from capture.rows import day_of
from capture.store import Store

FEATURE: Final = "feature_"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_COLUMNS: Final = {
    "read_id": pa.string(),
    "request_id": pa.string(),
    "index": pa.int32(),
    "model_version": pa.string(),
    "answer": pa.string(),
    "confidence": pa.float32(),
    "total_ms": pa.float32(),
    "content_type": pa.string(),
    "content": pa.binary(),
}


def rows_by_partition(
    found: Sequence[AnswerRecord],
) -> tuple[dict[str, pa.Table], list[tuple[AnswerRecord, Exception]]]:
    """Make the rows of each folder of the archive; and the records that no folder can have."""
    groups: dict[str, list[AnswerRecord]] = defaultdict(list)
    refused: list[tuple[AnswerRecord, Exception]] = []
    for record in found:
        try:
            groups[partition(day_of(record.time_us), record.site, ANSWERS)].append(record)
        except (ValueError, OverflowError) as error:
            refused.append((record, error))
    return {folder: to_table(group) for folder, group in groups.items()}, refused


def to_table(found: Sequence[AnswerRecord]) -> pa.Table:
    """Turn records into rows."""
    columns = {
        name: pa.array([getattr(one, name) for one in found], kind)
        for name, kind in _COLUMNS.items()
    }
    times = [_EPOCH + timedelta(microseconds=one.time_us) for one in found]
    columns["time"] = pa.array(times, pa.timestamp("us", tz="UTC"))
    for name in sorted({name for one in found for name in one.features}):
        values = [one.features.get(name) for one in found]
        columns[FEATURE + name] = pa.array(values, pa.float32())
    return pa.table(columns)


def read_answers(store: Store, window: Window) -> pd.DataFrame:
    """The rows of a window without erased reads, one for each (read_id, index).

    Raises:
        StoreError: the store failed.
    """
    tables = [
        decode(store.get(key))
        for day in window.days()
        for key in whole_files(store, store.find(f"{ANSWERS}/day={day.isoformat()}/"))
    ]
    if not tables:
        return to_table([]).to_pandas()
    found = pa.concat_tables(tables, promote_options="default")
    rows = without_erased(found, erased_ids(store)).to_pandas()
    return rows.drop_duplicates(["read_id", "index"], ignore_index=True)
