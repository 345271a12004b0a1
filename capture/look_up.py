"""Looks reads up by their read id, or by the request id that their caller had sent.

A read id names one read. A request id is the caller's and may name many. Knows nothing about what
is done with what is found.
"""

from __future__ import annotations

import re
import uuid
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.dataset as ds

from capture.archive import RECORDS, with_read_ids
from capture.erasure import erased_ids, without_erased
from capture.record import CaptureRecord
from capture.sampling import has_read_id, open_dataset
from capture.store import Store

_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ANSWER_US = 300_000_000  # a read is answered within 60 s; and clocks are set
_SEGMENT_US = 300_000_000  # a segment is finished within 21 s
_LAST_US = 253_402_300_799_999_999  # the last microsecond that a datetime has


@dataclass(frozen=True, slots=True)
class Read:
    """One read that was captured, without its crops."""

    read_id: str
    request_id: str
    site: str
    time: datetime  # when its first crop was answered

    def __str__(self) -> str:
        time = self.time.isoformat(timespec="milliseconds")
        return f"read_id {self.read_id}, site {self.site}, {time}, request_id {self.request_id}"


class AmbiguousId(LookupError):
    """A request id names several reads; `reads` has them."""

    def __init__(self, given: str, reads: Sequence[Read]) -> None:
        super().__init__(f"{given!r} is the request_id of {len(reads)} reads; give a read_id")
        self.reads = reads


def find_in_archive(store: Store, ids: Sequence[str]) -> list[Read]:
    """Find the reads whose read_id or request_id is one of these. Raises StoreError, OSError."""
    return _find_in(store, store.find(f"{RECORDS}/"), ids)


def find_one(store: Store, given: str) -> list[Read]:
    """As `find_in_archive`; of a read id that has a time, the files of that time come first."""
    if _UUID7.fullmatch(given):
        found = _find_in(store, _files_of(store, [given]), [given])
        if any(read.read_id == given for read in found):
            return found
    return find_in_archive(store, [given])


def _find_in(store: Store, keys: Sequence[str], ids: Sequence[str]) -> list[Read]:
    wanted = ds.field("request_id").isin(pa.array(ids, pa.string())) | has_read_id(ids)
    columns = ["read_id", "request_id", "site", "time"]
    rows = open_dataset(store, keys).to_table(columns=columns, filter=wanted)
    kept = without_erased(with_read_ids(rows), erased_ids(store))
    return _distinct(Read(**row) for row in kept.select(columns).to_pylist())


def find_crops(store: Store, read_ids: Sequence[str]) -> list[tuple[str, int]]:
    """The captured crops of reads whose ids are of version 7, as (read_id, crop_index).

    Raises:
        StoreError, OSError: the archive cannot be read.
    """
    columns = ["read_id", "request_id", "crop_index"]
    dataset = open_dataset(store, _files_of(store, read_ids))
    rows = dataset.to_table(columns=columns, filter=has_read_id(read_ids))
    kept = without_erased(with_read_ids(rows), erased_ids(store))
    return [(row["read_id"], row["crop_index"]) for row in kept.to_pylist()]


def _files_of(store: Store, read_ids: Sequence[str]) -> list[str]:
    """The files of the reads' days that were merged, or whose segment was begun about then."""
    begun = sorted({begun_us(read_id) for read_id in read_ids})
    days = {_day(us + edge_us) for us in begun for edge_us in (0, _ANSWER_US)}
    return [
        key
        for day in sorted(days)
        for key in store.find(f"{RECORDS}/day={day}/")
        if may_hold(key.rsplit("/", 1)[1], begun)
    ]


def begun_us(read_id: str) -> int:
    """When a read began, by its id."""
    return (uuid.UUID(read_id).int >> 80) * 1000


def _day(time_us: int) -> str:
    return _time(time_us).date().isoformat()


def may_hold(file: str, begun: Sequence[int]) -> bool:
    """Whether a file may hold a read of these times; a segment's name begins with its time."""
    stamp = file.partition("-")[0]
    if not stamp.isdecimal():  # merged files
        return True
    first = bisect_left(begun, int(stamp) - _ANSWER_US)
    return first < len(begun) and begun[first] <= int(stamp) + _SEGMENT_US


def find_among(records: Iterable[CaptureRecord], ids: Collection[str]) -> list[Read]:
    """Find the reads among records, such as those of a spool."""
    return _distinct(
        Read(one.read_id, one.request_id, one.site, _time(one.time_us))
        for one in records
        if one.read_id in ids or one.request_id in ids
    )


def _time(time_us: int) -> datetime:
    """A record's time; one that is out of range is not archived, but must be found to be erased."""
    return _EPOCH + timedelta(microseconds=min(max(time_us, 0), _LAST_US))


def _distinct(reads: Iterable[Read]) -> list[Read]:
    """One of each read, oldest first."""
    in_order = sorted(reads, key=lambda read: (read.time, read.read_id))
    return list({read.read_id: read for read in reversed(in_order)}.values())[::-1]


def choose(reads: Sequence[Read], given: str, site: str | None = None) -> Read | None:
    """The read that an id names; None if it names none.

    Args:
        reads: those that were found.
        given: a read_id; or a request_id, where it names one read.
        site: only reads of this site count, if it is given.

    Raises:
        AmbiguousId: it is no read_id, and the request_id of several reads.
    """
    of_site = [read for read in reads if site in (None, read.site)]
    for read in of_site:
        if read.read_id == given:
            return read
    named = [read for read in of_site if read.request_id == given]
    if len(named) > 1:
        raise AmbiguousId(given, named)
    return named[0] if named else None
