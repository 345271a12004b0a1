"""Removes a request from the archive and from the reports' pictures, and keeps it out.

Knows nothing about the spool.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from capture.archive import ERASED, LABELS, PARQUET, RECORDS, decode, encode
from capture.store import Store


def fingerprint(request_id: str) -> str:
    """Hash of an erased request's id: enough to recognise it, and nothing else."""
    return hashlib.sha256(request_id.encode()).hexdigest()


def erased_ids(store: Store) -> frozenset[str]:
    """Fingerprints of all erased requests."""
    return frozenset(key.removeprefix(f"{ERASED}/") for key in store.find(f"{ERASED}/"))


def erase_from_archive(store: Store, request_id: str) -> int:
    """Remove a request's rows and labels from the archive, and mark it so that none return.

    Returns:
        Number of rows removed.
    """
    store.put(f"{ERASED}/{fingerprint(request_id)}", b"", content_type="text/plain")
    likely = [key for prefix in _where(request_id) for key in store.find(prefix)]
    num_removed = _rewrite_all(store, likely, request_id)
    if not num_removed:  # the caller may have made the id with a wrong clock
        others = sorted(set(store.find(f"{RECORDS}/")) - set(likely))
        num_removed = _rewrite_all(store, others, request_id)
    return num_removed + _rewrite_all(store, store.find(f"{LABELS}/"), request_id)


def _rewrite_all(store: Store, keys: Sequence[str], request_id: str) -> int:
    return sum(_rewrite_without(store, key, request_id) for key in keys)


def picture_name(request_id: str, crop_index: int) -> str:
    """Name of a crop's picture beside a report; no other file there shows handwriting."""
    return f"{fingerprint(request_id)[:32]}-{crop_index}.png"


def erase_pictures(reports: Store, request_id: str) -> int:
    """Remove a request's pictures from every report; returns the number removed."""
    start = f"/{fingerprint(request_id)[:32]}-"
    pictures = [key for key in reports.find("") if start in key]
    reports.delete(pictures)
    return len(pictures)


def _where(request_id: str) -> list[str]:
    """Prefixes to search first: the day of a uuid7, and a day on each side for wrong clocks."""
    try:
        parsed = uuid.UUID(request_id)
    except ValueError:
        return [f"{RECORDS}/"]
    if parsed.version != 7:
        return [f"{RECORDS}/"]
    day = datetime.fromtimestamp((parsed.int >> 80) / 1000, tz=UTC).date()
    return [f"{RECORDS}/day={day + timedelta(n)}/" for n in (-1, 0, 1)]


def _rewrite_without(store: Store, key: str, request_id: str) -> int:
    table = decode(store.get(key))
    kept = table.filter(pc.not_equal(table["request_id"], request_id))
    num_removed: int = table.num_rows - kept.num_rows
    if num_removed and kept.num_rows:
        store.put(key, encode(kept), content_type=PARQUET)
    elif num_removed:
        store.delete([key])
    return num_removed


def without_erased(table: pa.Table, erased: frozenset[str]) -> pa.Table:
    """Filter out the rows of erased requests, given by their fingerprints."""
    if not erased:
        return table
    keep = [fingerprint(request_id) not in erased for request_id in table["request_id"].to_pylist()]
    return table.filter(pa.array(keep, pa.bool_()))
