"""Everything that is captured of one read: its crops, wherever they are, and its label events.

A crop is in the spool for some seconds, then among the records of its day; what somebody labelled
is kept after the records have expired. Knows nothing about what is done with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.dataset as ds

from capture import challenger_answer, label_event
from capture.archive import KEPT, partition, with_read_ids
from capture.codec import RecordError
from capture.erasure import erased_ids, fingerprint, without_erased
from capture.look_up import Read, find_among, find_one
from capture.parquet_schema import SCHEMA
from capture.record import CaptureRecord, decode
from capture.rows import to_table
from capture.sampling import has_read_id, open_dataset
from capture.segments import spool_payloads
from capture.store import Store

Row = dict[str, Any]  # a crop: columns of `parquet_schema.SCHEMA`, and its site
_READ: Final = ["read_id", "request_id", "site", "time"]


def is_erased(store: Store, given: str) -> bool:
    """Whether a read with this id was erased. Raises StoreError."""
    return fingerprint(given) in erased_ids(store)


def find_reads(store: Store, spool: Path, given: str) -> list[Read]:
    """The reads whose read id or request id this is, oldest first.

    Raises:
        StoreError, OSError: the archive cannot be read.
    """
    erased = erased_ids(store)
    records = [one for one in _records(spool, given) if fingerprint(one.read_id) not in erased]
    in_spool = find_among(records, [given])
    wanted = has_read_id([given]) | (ds.field("request_id") == given)
    kept = [Read(**row) for row in _kept(store, wanted, _READ).to_pylist()]
    found = {read.read_id: read for read in [*in_spool, *kept, *find_one(store, given)]}
    return sorted(found.values(), key=lambda read: (read.time, read.read_id))


def read_crops(store: Store, spool: Path, read: Read) -> list[Row]:
    """The crops of a read in their order, each once; none where it was erased meanwhile.

    Raises:
        StoreError, OSError: the archive cannot be read.
    """
    tables = [_from_spool(spool, read)]  # a record is archived before it leaves the spool
    tables.append(_kept(store, has_read_id([read.read_id]), [*SCHEMA.names, "site"]))
    tables.append(_from_records(store, read))
    erased = erased_ids(store)
    rows = {
        row["crop_index"]: row
        for table in tables
        for row in without_erased(with_read_ids(table), erased).to_pylist()
        if row["read_id"] == read.read_id
    }
    return [rows[index] for index in sorted(rows)]


def spool_events(spool: Path, read_id: str) -> list[label_event.LabelEvent]:
    """The label events of a read that are not shipped yet."""
    found = []
    for payload in _payloads(spool, read_id):
        if payload.startswith(label_event.FIRST_BYTE):
            with contextlib.suppress(ValueError):
                found.append(label_event.decode(payload))
    return [one for one in found if one.read_id == read_id]


def _payloads(spool: Path, given: str) -> Iterator[bytes]:
    """What in the spool may be about an id: only this is decoded."""
    wanted = given.encode()
    return (payload for payload in spool_payloads(spool) if wanted in payload)


def _records(spool: Path, given: str) -> Iterator[CaptureRecord]:
    for payload in _payloads(spool, given):
        with contextlib.suppress(RecordError):
            yield decode(payload)


def _from_spool(spool: Path, read: Read) -> pa.Table:
    """A read's records that are not shipped, with the challenger's answers as the shipper joins."""
    records = {
        one.index: one for one in _records(spool, read.read_id) if one.read_id == read.read_id
    }
    for payload in _payloads(spool, read.read_id):
        if payload.startswith(challenger_answer.FIRST_BYTE):
            with contextlib.suppress(ValueError):
                (read_id, index), answer = challenger_answer.decode(payload)
                if read_id == read.read_id and index in records:
                    for name, value in asdict(answer).items():
                        setattr(records[index], name, value)
    if not records:
        return _with_site(SCHEMA.empty_table(), read.site)
    return _with_site(to_table(list(records.values())), read.site)


def _with_site(table: pa.Table, site: str) -> pa.Table:
    return table.append_column("site", pa.array([site] * len(table), pa.string()))


def _from_records(store: Store, read: Read) -> pa.Table:
    days = {(read.time + timedelta(minutes=more)).date() for more in (0, 5)}
    folders = [partition(day.isoformat(), read.site) for day in sorted(days)]
    keys = [key for folder in folders for key in store.find(f"{folder}/")]
    wanted = has_read_id([read.read_id])
    return open_dataset(store, keys).to_table(columns=[*SCHEMA.names, "site"], filter=wanted)


def _kept(store: Store, wanted: ds.Expression, columns: list[str]) -> pa.Table:
    """Rows of the labelled crops that outlive their records."""
    schema = pa.schema([*SCHEMA, pa.field("site", pa.string())])
    filesystem, root = store.arrow()
    paths = [f"{root}/{key}" for key in store.find(f"{KEPT}/")]
    if not paths:
        return schema.empty_table().select(columns)
    found = ds.dataset(paths, schema, "parquet", filesystem)
    rows = with_read_ids(found.to_table(columns=columns, filter=wanted))
    return without_erased(rows, erased_ids(store))
