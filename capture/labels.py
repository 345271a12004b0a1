"""Label events in the archive, under a prefix of their own that does not expire with the captures.

    label_events/NAME.parquet   what ship and `monitoring label` write
    labels/HASH.parquet         what version 0.1 wrote: labels without person or time

Version 0.1 reads all of labels/, so events have another prefix. They are only added;
`capture.label_decision` decides which label counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import pandas as pd
import pyarrow as pa

from capture.archive import KEY, LABEL_EVENTS, LABELS, PARQUET, READ_ID, encode
from capture.damaged import read_whole
from capture.erasure import erased_ids, without_erased
from capture.label_decision import settle
from capture.label_event import LabelEvent
from capture.store import Store

EVENT_SCHEMA: Final = pa.schema(
    [
        ("event_id", pa.string()),
        (READ_ID, pa.string()),
        ("crop_index", pa.int32()),
        ("label", pa.string()),
        ("who", pa.string()),
        ("when", pa.timestamp("us", tz="UTC")),
        ("how", pa.string()),
        ("source", pa.string()),
    ]
)
# The labels that count.
LABEL_SCHEMA: Final = pa.schema(
    [
        (READ_ID, pa.string()),
        ("crop_index", pa.int32()),
        ("label", pa.string()),
        ("is_audit", pa.bool_()),  # a person was asked because the crop is in the audit sample
    ]
)
_MERGE_BYTES: Final = 64 * 1024 * 1024  # a larger file of events is left as it is


def to_table(events: Sequence[LabelEvent]) -> pa.Table:
    """Turn events into rows."""
    rows = [
        (
            one.event_id,
            one.read_id,
            one.crop_index,
            one.label,
            one.who,
            one.when_us,
            one.how,
            one.source,
        )
        for one in events
    ]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(EVENT_SCHEMA)
    arrays = [
        pa.array(column, pa.int64()).cast(field.type)
        if field.name == "when"
        else pa.array(column, field.type)
        for column, field in zip(columns, EVENT_SCHEMA, strict=True)
    ]
    return pa.table(arrays, schema=EVENT_SCHEMA)


def add_events(store: Store, events: Sequence[LabelEvent], *, name: str = "") -> str:
    """Store events; storing the same again changes nothing.

    Args:
        store: the archive.
        events: at least one.
        name: of the file, such as the segment's; by its content if empty.

    Returns:
        The key they are stored under.
    """
    if not name:
        ids = "\n".join(sorted(one.event_id for one in events))
        name = hashlib.sha256(ids.encode()).hexdigest()[:24]
    key = f"{LABEL_EVENTS}/{name}.parquet"
    store.put(key, encode(to_table(events)), content_type=PARQUET)
    return key


def read_events(store: Store) -> pd.DataFrame:
    """Every event of reads that are not erased, one row for each."""
    return events_in(store, event_files(store))


def event_files(store: Store) -> list[str]:
    """The files of events."""
    return [*store.find(f"{LABELS}/"), *store.find(f"{LABEL_EVENTS}/")]


def events_in(store: Store, keys: Sequence[str]) -> pd.DataFrame:
    """The events of some files, of reads that are not erased, one row for each."""
    tables = [_as_events(read_whole(store, key)) for key in keys]
    if not tables:
        return EVENT_SCHEMA.empty_table().to_pandas()
    kept = without_erased(pa.concat_tables(tables), erased_ids(store))
    return kept.to_pandas().drop_duplicates("event_id", ignore_index=True)


def read_labels(store: Store) -> pd.DataFrame:
    """The label of each crop where it is settled; columns of LABEL_SCHEMA."""
    events = read_events(store)
    if events.empty:
        return LABEL_SCHEMA.empty_table().to_pandas()
    return settle(events)


def compact_labels(store: Store) -> int:
    """Merge the small files of events into one; returns the number of files merged away.

    No event is dropped but those of erased reads and repetitions. A kill leaves old and merged
    files; readers count an event once.
    """
    found = {key: read_whole(store, key) for key in store.find(f"{LABEL_EVENTS}/")}
    small = {key: table for key, table in found.items() if table.nbytes < _MERGE_BYTES}
    if len(small) < 2:
        return 0
    together = without_erased(pa.concat_tables(small.values()), erased_ids(store))
    frame = together.to_pandas().drop_duplicates("event_id").sort_values(["when", "event_id"])
    name = hashlib.sha256("\n".join(small).encode()).hexdigest()[:24]
    merged = f"{LABEL_EVENTS}/merged-{name}.parquet"
    if len(frame):
        table = pa.Table.from_pandas(frame, EVENT_SCHEMA, preserve_index=False)
        store.put(merged, encode(table), content_type=PARQUET)
    store.delete([key for key in small if key != merged])
    return len(small)


def _as_events(table: pa.Table) -> pa.Table:
    """Rows of version 0.1, where the read id is named request_id, as events of nobody."""
    if "event_id" in table.column_names:
        return table
    old = table.rename_columns([*KEY, "label"]).to_pandas()
    events = [
        LabelEvent(str(row.read_id), int(row.crop_index), str(int(row.label)), "", 0, "import")
        for row in old.itertuples()
    ]
    return to_table(events)
