"""The rows of a label file -> events of captured reads, all of them or none.

A request id is taken where it names one read. Knows nothing about CSV.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from capture.archive import KEY
from capture.label_csv import LabelFileError, LabelRow
from capture.label_decision import votes_of
from capture.label_event import LabelEvent
from capture.labels import add_events, read_events
from capture.look_up import AmbiguousId, Read, choose, find_among, find_in_archive
from capture.segments import read_spool
from capture.store import Store


@dataclass(frozen=True, slots=True)
class Stored:
    """Where events were stored, and how many were there before."""

    key: str | None  # None: nothing was new
    num_new: int
    num_known: int


def store_rows(store: Store, spool: Path, rows: Sequence[LabelRow]) -> Stored:
    """Store every label of a file, or none where one of them cannot be stored.

    Args:
        store: the archive.
        spool: reads that are not shipped yet are found here.
        rows: of one file.

    Raises:
        LabelFileError: a read is not known, a request id names several reads, or two rows of one
            person and moment disagree about a crop.
        StoreError, OSError: the archive cannot be read or written.
    """
    reads_of = _look_up(store, spool, sorted({row.event.read_id for row in rows}))
    found: dict[tuple[str, int, str, int], tuple[LabelRow, LabelEvent]] = {}
    mistakes: list[str] = []
    for row in rows:
        try:
            event = replace(row.event, read_id=_read_id_of(row, reads_of))
        except LabelFileError as error:
            mistakes.append(str(error))
            continue
        key = (event.read_id, event.crop_index, event.who, event.when_us)
        first, said = found.setdefault(key, (row, event))
        if said.label != event.label:
            mistakes.append(
                f"line {row.line}: label {event.label}, but line {first.line} says {said.label} "
                f"of the same crop of read {event.read_id}; keep one of them, or say when"
            )
    if mistakes:
        raise LabelFileError(mistakes)
    new = _without_known(store, list(found.values()))
    stored_as = add_events(store, new) if new else None
    return Stored(stored_as, len(new), len(found) - len(new))


def _look_up(store: Store, spool: Path, ids: Sequence[str]) -> dict[str, list[Read]]:
    """Id -> the reads that it names, of archive and spool."""
    reads = find_in_archive(store, ids)
    known = {read.read_id for read in reads}
    if missing := set(ids) - known - {read.request_id for read in reads}:
        reads += find_among(read_spool(spool), missing)
    reads_of: dict[str, list[Read]] = defaultdict(list)
    for read in reads:
        for name in {read.read_id, read.request_id}:
            reads_of[name].append(read)
    return reads_of


def _without_known(store: Store, found: Sequence[tuple[LabelRow, LabelEvent]]) -> list[LabelEvent]:
    """The events that change something.

    A row without a time says nothing new where its person's latest label is the same; so a file
    may be read twice.
    """
    events = read_events(store)
    known_ids = set(events["event_id"])
    votes = votes_of(events) if len(events) else events
    said = set(votes[[*KEY, "who", "label", "how"]].itertuples(index=False, name=None))
    return [
        event
        for row, event in found
        if event.event_id not in known_ids
        and (
            row.has_time
            or (event.read_id, event.crop_index, event.who, event.label, event.how) not in said
        )
    ]


def _read_id_of(row: LabelRow, reads_of: dict[str, list[Read]]) -> str:
    """The read that a row names."""
    given = row.event.read_id
    reads = reads_of.get(given, [])
    # The column decides: a caller may have sent another read's read_id as its request_id.
    if not row.request_id:
        reads = [read for read in reads if read.read_id == given]
    else:
        reads = _with_request_id(row, reads)
    site = row.site or None
    try:
        chosen = choose(reads, given, site)
    except AmbiguousId as error:
        raise LabelFileError([f"line {row.line}: {error}:", *_listed(error.reads)]) from None
    if chosen is None and reads:
        raise LabelFileError(
            [f"line {row.line}: {given!r} names no read of site {site!r}, but:", *_listed(reads)]
        )
    if chosen is None:
        name = "request_id" if row.request_id else "read_id"
        said = (
            f"line {row.line}: {name} {given!r} is not known; check it, or wait 30 s until "
            "its read is shipped; it may be erased or older than the captures are kept"
        )
        raise LabelFileError([said])
    return chosen.read_id


def _with_request_id(row: LabelRow, reads: Sequence[Read]) -> list[Read]:
    found = [read for read in reads if read.request_id == row.request_id]
    if reads and not found:
        said = (
            f"line {row.line}: {row.request_id!r} is a read_id and no request_id; if this is "
            "the read that is meant, write it in the column read_id:"
        )
        raise LabelFileError([said, *_listed(reads)])
    return found


def _listed(reads: Sequence[Read]) -> list[str]:
    return [f"  {read}" for read in reads]
