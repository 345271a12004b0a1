"""Removes a read from the archive and from the reports' pictures, and keeps it out.

Knows nothing about the spool.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from capture.archive import (
    ANSWERS,
    ERASED,
    KEPT,
    LABEL_EVENTS,
    LABELS,
    PARQUET,
    RECORDS,
    decode,
    encode,
    with_read_ids,
)
from capture.damaged import REMEDY
from capture.store import MissingKey, Store

log = logging.getLogger(__name__)


def fingerprint(read_id: str) -> str:
    """Hash of an erased read's id: enough to recognise it, and nothing else."""
    return hashlib.sha256(read_id.encode()).hexdigest()


def erased_ids(store: Store) -> frozenset[str]:
    """Fingerprints of all erased reads."""
    return frozenset(key.removeprefix(f"{ERASED}/") for key in store.find(f"{ERASED}/"))


def is_erased(store: Store, read_id: str) -> bool:
    """Whether one read is erased; a single look-up."""
    try:
        store.get(f"{ERASED}/{fingerprint(read_id)}")
    except MissingKey:
        return False
    return True


class Erased(NamedTuple):
    """What an erasure did in an archive."""

    num_rows: int
    unsearched: tuple[str, ...]  # damaged files, which may still have the read


def erase_from_archive(store: Store, read_id: str) -> Erased:
    """Remove a read's rows, labels and kept crops from the archive, and mark it for good."""
    store.put(f"{ERASED}/{fingerprint(read_id)}", b"", content_type="text/plain")
    likely = [key for prefix in days_of(read_id) for key in store.find(prefix)]
    found = _rewrite_all(store, likely, read_id)
    others: list[str] = []
    if not found.num_rows:  # it may be an older version's, made by the caller with a wrong clock
        others = sorted(set(store.find(f"{RECORDS}/")) - set(likely))
    for name in (LABELS, LABEL_EVENTS, KEPT, ANSWERS):
        others += store.find(f"{name}/")
    more = _rewrite_all(store, others, read_id)
    return Erased(found.num_rows + more.num_rows, found.unsearched + more.unsearched)


def _rewrite_all(store: Store, keys: Sequence[str], read_id: str) -> Erased:
    """Rewrite all files that can be read; the others are told."""
    num_removed = 0
    unsearched = []
    for key in keys:
        try:
            num_removed += _rewrite_without(store, key, read_id)
        except pa.ArrowException as error:
            log.error("%s/%s cannot be searched: %s; %s", store.url, key, error, REMEDY)  # noqa: TRY400
            unsearched.append(key)
    return Erased(num_removed, tuple(unsearched))


def picture_name(read_id: str, crop_index: int) -> str:
    """Name of a crop's picture beside a report; no other file there shows handwriting."""
    return f"{fingerprint(read_id)[:32]}-{crop_index}.png"


def erase_pictures(reports: Store, read_id: str) -> int:
    """Remove a read's pictures from every report; returns the number removed."""
    start = f"/{fingerprint(read_id)[:32]}-"
    pictures = [key for key in reports.find("") if start in key]
    reports.delete(pictures)
    return len(pictures)


def days_of(read_id: str) -> list[str]:
    """Prefixes of a read's records: the day of a uuid7, and one on each side for wrong clocks."""
    try:
        parsed = uuid.UUID(read_id)
        if parsed.version != 7:
            return [f"{RECORDS}/"]
        day = datetime.fromtimestamp((parsed.int >> 80) / 1000, tz=UTC).date()
        return [f"{RECORDS}/day={day + timedelta(n)}/" for n in (-1, 0, 1)]
    except (ValueError, OverflowError, OSError):  # no UUID, or of a year that no clock has
        return [f"{RECORDS}/"]


def _rewrite_without(store: Store, key: str, read_id: str) -> int:
    table = decode(store.get(key))
    kept = table.filter(pc.not_equal(with_read_ids(table)["read_id"], read_id))
    num_removed: int = table.num_rows - kept.num_rows
    if num_removed and kept.num_rows:
        store.put(key, encode(kept), content_type=PARQUET)
    elif num_removed:
        store.delete([key])
    return num_removed


def without_erased(table: pa.Table, erased: frozenset[str]) -> pa.Table:
    """Filter out the rows of erased reads, given by their fingerprints."""
    if not erased:
        return table
    keep = [fingerprint(read_id) not in erased for read_id in table["read_id"].to_pylist()]
    return table.filter(pa.array(keep, pa.bool_()))
