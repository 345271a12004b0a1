"""Upkeep of the archive: merges the files of a finished day, and deletes old days.

Knows nothing about who runs it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Final

import pyarrow as pa

from capture.archive import ANSWERS, KEY, PARQUET, RECORDS, decode, encode, with_read_ids
from capture.damaged import REMEDY
from capture.erasure import erased_ids, without_erased
from capture.store import Store

log = logging.getLogger(__name__)

MERGE_BYTES: Final = 256 * 1024 * 1024  # in memory; a merged file is smaller
_READS_AT_ONCE: Final = 16


def compact(store: Store, day: date) -> int:
    """Merge each site's files of a day into one: deduped, and without what was erased.

    Run it when the day is over. A kill leaves old and merged files; readers dedupe them and the
    next run removes the old ones.

    Returns:
        Number of files merged away.
    """
    erased = erased_ids(store)
    by_site: dict[str, list[str]] = {}
    for key in store.find(f"{RECORDS}/day={day}/"):
        by_site.setdefault(key.rsplit("/", 1)[0], []).append(key)
    return sum(
        _merge(store, folder, group, erased)
        for folder, keys in by_site.items()
        for group in _groups(store, keys)
    )


def _groups(store: Store, keys: Sequence[str]) -> Iterator[dict[str, pa.Table]]:
    """Group files up to `MERGE_BYTES`, because a day of a site may exceed memory.

    A file of half that size or more stays alone, so that merging again changes nothing.
    """
    group: dict[str, pa.Table] = {}
    num_bytes = 0
    for key, table in _read_ahead(store, keys):
        if table.nbytes >= MERGE_BYTES / 2:
            yield {key: table}
            continue
        group[key] = table
        num_bytes += table.nbytes
        if num_bytes >= MERGE_BYTES:
            yield group
            group, num_bytes = {}, 0
    if group:
        yield group


def _read_ahead(store: Store, keys: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
    """Read files in order, 16 at once, because S3 requests are mostly waiting."""
    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        for start in range(0, len(keys), _READS_AT_ONCE):
            some = keys[start : start + _READS_AT_ONCE]
            for key, data in zip(some, pool.map(store.get, some), strict=True):
                try:
                    yield key, decode(data)
                except pa.ArrowException as error:  # it stays as it is, beside the merged file
                    log.error("%s/%s is not merged: %s; %s", store.url, key, error, REMEDY)  # noqa: TRY400


def _merge(store: Store, folder: str, group: dict[str, pa.Table], erased: frozenset[str]) -> int:
    # A file written before a field was added lacks its column: null.
    stored = pa.concat_tables(group.values(), promote_options="default")
    table = without_erased(_dedupe(with_read_ids(stored)), erased)
    if len(group) == 1 and table.num_rows == stored.num_rows:
        return 0
    name = hashlib.sha256("\n".join(group).encode()).hexdigest()[:24]
    merged = f"{folder}/merged-{name}.parquet"
    if table.num_rows:
        store.put(merged, encode(table), content_type=PARQUET)
    store.delete([key for key in group if key != merged])
    return len(group)


def expire(store: Store, *, keep_days: int, today: date) -> int:
    """Delete the records of days older than `keep_days`; returns the number of files deleted."""
    oldest = today - timedelta(keep_days)
    keys = [key for root in (RECORDS, ANSWERS) for key in store.find(f"{root}/")]
    old = [key for key in keys if _day_of_key(key) < oldest]
    store.delete(old)
    return len(old)


def _day_of_key(key: str) -> date:
    return date.fromisoformat(key.split("/")[1].removeprefix("day="))


def _dedupe(table: pa.Table) -> pa.Table:
    table = table.append_column("row", pa.array(range(table.num_rows), pa.int64()))
    first = table.group_by(KEY).aggregate([("row", "min")])["row_min"]
    return table.take(first.combine_chunks().sort()).drop_columns("row")
