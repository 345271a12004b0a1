"""The archive of captured records: find, dedupe, sample, compact, expire, erase.

    records/day=2026-11-21/site=leeds/SEGMENT.parquet   what ship writes
    labels/HASH.parquet                                 truth that arrived later
    erased/FINGERPRINT                                  requests that must never come back

Shipping is at least once, so every reader here keeps one row for each (request_id, crop_index).
Knows nothing about drift.
"""

from __future__ import annotations

import hashlib
import io
import uuid
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from urllib.parse import quote, unquote

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from capture.parquet_schema import SCHEMA
from capture.store import Store

RECORDS: Final = "records"
LABELS: Final = "labels"
ERASED: Final = "erased"
PARQUET: Final = "application/vnd.apache.parquet"
KEY: Final = ["request_id", "crop_index"]
MERGE_BYTES: Final = 256 * 1024 * 1024  # in memory; a merged file is smaller
_READS_AT_ONCE = 16
_HASHES = 2**32
_SAMPLE_SLACK = 1.05  # duplicates and chance
LABEL_SCHEMA: Final = pa.schema(
    [("request_id", pa.string()), ("crop_index", pa.int32()), ("label", pa.int8())]
)


@dataclass(frozen=True, slots=True)
class Window:
    """Days from first to last, both included."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"{self}: the last day is before the first")

    def __str__(self) -> str:
        if self.first == self.last:
            return self.first.isoformat()
        return f"{self.first.isoformat()}..{self.last.isoformat()}"

    def days(self) -> list[date]:
        """Every day of the window."""
        return [self.first + timedelta(n) for n in range((self.last - self.first).days + 1)]


def parse_window(text: str, *, today: date) -> Window:
    """Read ``2026-11-01``, ``2026-11-01..2026-11-07``, ``yesterday`` or ``today``.

    Raises:
        ValueError: anything else.
    """
    named = {"today": today, "yesterday": today - timedelta(1)}
    first, _, last = text.partition("..")
    try:
        days = [named.get(part) or date.fromisoformat(part) for part in (first, last or first)]
    except ValueError as error:
        raise ValueError(
            f"{text!r} is no window: give yesterday, 2026-11-01 or 2026-11-01..2026-11-07"
        ) from error
    return Window(*days)


def partition(day: str, site: str) -> str:
    """The folder of one site's day."""
    return f"{RECORDS}/day={day}/site={quote(site, safe='')}"


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of a window, at most the asked number, and how many there are in all."""

    rows: pd.DataFrame  # columns asked for, and day, site, sample_key; one row for each key
    labelled: pd.DataFrame  # the same columns of every row whose label was given, sampled or not
    num_stored: int  # rows in the archive before dedupe
    sample_below: int  # rows with a sample_key below this are a fair sample of all sites together


def read_sample(
    store: Store,
    window: Window,
    *,
    columns: Sequence[str],
    max_rows: int,
    min_rows_per_site: int,
    labels: pd.DataFrame | None = None,
) -> Sample:
    """Read a fair sample of a window in memory bounded by `max_rows`, not by the window.

    The choice is by hash of the key, so duplicates fall together, and reading again gives the
    same rows. Each site gives at least `min_rows_per_site` where it has them, so that a small
    site can be judged; rows with a sample_key below `sample_below` leave that surplus out.
    Labelled rows are few and people worked for them: all of the window's are read beside it.

    Raises:
        StoreError, OSError: the archive cannot be read.
    """
    keys = [key for day in window.days() for key in store.find(f"{RECORDS}/day={day}/")]
    wanted = [*dict.fromkeys([*KEY, "sample_key", *columns])]
    dataset = _open(store, keys)
    rows_by_site = _count_by_site(dataset)
    num_stored = sum(rows_by_site.values())
    below = _bound(max_rows, num_stored)
    labels = LABEL_SCHEMA.empty_table().to_pandas() if labels is None else labels
    labelled_keys = pa.array(
        map(sample_key, labels["request_id"], labels["crop_index"]), type=pa.int64()
    )
    tables = []
    for site, num_rows in rows_by_site.items():
        site_below = max(below, _bound(min_rows_per_site, num_rows))
        key = ds.field("sample_key")
        chosen = (ds.field("site") == site) & ((key < site_below) | key.isin(labelled_keys))
        table = dataset.to_table(columns=[*wanted, "day", "site"], filter=chosen)
        is_sampled = pc.less(table["sample_key"], site_below)
        tables.append(table.append_column("is_sampled", is_sampled))
    if not tables:
        none = _open(store, []).to_table().to_pandas()
        return Sample(none, none, num_stored, below)
    rows = _without_erased(pa.concat_tables(tables), erased_ids(store))
    frame = rows.to_pandas().drop_duplicates(KEY).sort_values("sample_key", ignore_index=True)
    sampled = frame.pop("is_sampled").to_numpy(bool)
    labelled = frame.merge(labels[KEY], on=KEY)
    return Sample(frame[sampled].reset_index(drop=True), labelled, num_stored, below)


def sample_key(request_id: str, index: int) -> int:
    """Hash a record's key to [0, 2**32); the same for every copy of a record."""
    return zlib.crc32(f"{request_id}/{index}".encode())


def read_pictures(store: Store, window: Window, keys: Sequence[tuple[str, int]]) -> pd.DataFrame:
    """Fetch image_png and crop_png of a few records."""
    files = [key for day in window.days() for key in store.find(f"{RECORDS}/day={day}/")]
    chosen = pc.field("request_id").isin([request_id for request_id, _ in keys])
    rows = _open(store, files).to_table(columns=[*KEY, "image_png", "crop_png"], filter=chosen)
    frame = rows.to_pandas().drop_duplicates(KEY).set_index(KEY)
    return frame.loc[frame.index.isin(list(keys))]


def _open(store: Store, keys: Sequence[str]) -> ds.Dataset:
    filesystem, root = store.arrow()
    schema = pa.schema([*SCHEMA, ("day", pa.string()), ("site", pa.string())])
    return ds.FileSystemDataset.from_paths(
        [f"{root}/{key}" for key in keys],
        schema=schema,
        format=ds.ParquetFileFormat(),
        filesystem=filesystem,
        partitions=[_partition_expression(key) for key in keys],
    )


def _partition_expression(key: str) -> ds.Expression:
    _, day, site, _ = key.split("/")
    return (ds.field("day") == day.removeprefix("day=")) & (
        ds.field("site") == unquote(site.removeprefix("site="))
    )


def _count_by_site(dataset: ds.Dataset) -> dict[str, int]:
    """Count rows from the files' footers alone."""
    counts: dict[str, int] = {}
    for fragment in dataset.get_fragments():
        site = ds.get_partition_keys(fragment.partition_expression)["site"]
        counts[site] = counts.get(site, 0) + fragment.count_rows()
    return counts


def _bound(max_rows: int, num_rows: int) -> int:
    if num_rows <= max_rows:
        return _HASHES
    return min(_HASHES, int(_HASHES * _SAMPLE_SLACK * max_rows / num_rows))


# --- labels ------------------------------------------------------------------


def add_labels(store: Store, labels: pd.DataFrame) -> str:
    """Keep labels that arrived for captured crops; the same labels again change nothing.

    Args:
        store: where the records are.
        labels: columns request_id, crop_index and label (0-9).

    Returns:
        The key they are stored under.

    Raises:
        ValueError: a column is missing or a label is not a digit.
    """
    missing = set(LABEL_SCHEMA.names) - set(labels.columns)
    if missing:
        raise ValueError(f"labels lack the columns {sorted(missing)}")
    if not labels["label"].isin(range(10)).all():
        wrong = labels.loc[~labels["label"].isin(range(10)), "label"].iloc[0]
        raise ValueError(f"label {wrong} is not a digit from 0 to 9")
    table = pa.Table.from_pandas(labels[LABEL_SCHEMA.names], LABEL_SCHEMA, preserve_index=False)
    data = encode(table)
    key = f"{LABELS}/{hashlib.sha256(data).hexdigest()[:24]}.parquet"
    store.put(key, data, content_type=PARQUET)
    return key


def read_labels(store: Store) -> pd.DataFrame:
    """Every label; where two disagree about a crop, neither."""
    tables = [decode(store.get(key)) for key in store.find(f"{LABELS}/")]
    if not tables:
        return LABEL_SCHEMA.empty_table().to_pandas()
    rows = pa.concat_tables(tables).to_pandas().drop_duplicates()
    return rows[~rows.duplicated(KEY, keep=False)]


# --- upkeep ------------------------------------------------------------------


def compact(store: Store, day: date) -> int:
    """Merge each site's files of a day into one: deduped, and without what was erased.

    Run it when the day is over. A kill in between leaves both, which readers dedupe and the
    next run cleans up.

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
    """Read files until together they fill `MERGE_BYTES`: a day of a site may exceed memory.

    A file that is half as large already stands alone, so that merging again changes nothing.
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
    """Read files in order, a few at once: from S3 nearly all the time is waiting."""
    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        for start in range(0, len(keys), _READS_AT_ONCE):
            some = keys[start : start + _READS_AT_ONCE]
            yield from zip(some, map(decode, pool.map(store.get, some)), strict=True)


def _merge(store: Store, folder: str, group: dict[str, pa.Table], erased: frozenset[str]) -> int:
    stored = pa.concat_tables(group.values())
    table = _without_erased(_dedupe(stored), erased)
    if len(group) == 1 and table.num_rows == stored.num_rows:
        return 0
    name = hashlib.sha256("\n".join(group).encode()).hexdigest()[:24]
    merged = f"{folder}/merged-{name}.parquet"
    if table.num_rows:
        store.put(merged, encode(table), content_type=PARQUET)
    store.delete([key for key in group if key != merged])
    return len(group)


def expire(store: Store, *, keep_days: int, today: date) -> int:
    """Delete the records of days older than `keep_days`; returns how many files went."""
    oldest = today - timedelta(keep_days)
    old = [key for key in store.find(f"{RECORDS}/") if _day_of_key(key) < oldest]
    store.delete(old)
    return len(old)


def _day_of_key(key: str) -> date:
    return date.fromisoformat(key.split("/")[1].removeprefix("day="))


# --- erasing -----------------------------------------------------------------


def fingerprint(request_id: str) -> str:
    """What is kept of an erased request: enough to recognise it, and nothing else."""
    return hashlib.sha256(request_id.encode()).hexdigest()


def erased_ids(store: Store) -> frozenset[str]:
    """Fingerprints of all erased requests."""
    return frozenset(key.removeprefix(f"{ERASED}/") for key in store.find(f"{ERASED}/"))


def erase(store: Store, request_id: str) -> int:
    """Remove a request's rows and labels from the archive, and mark it so that none come back.

    Returns:
        Number of rows removed.
    """
    store.put(f"{ERASED}/{fingerprint(request_id)}", b"", content_type="text/plain")
    likely = [key for prefix in _where(request_id) for key in store.find(prefix)]
    num_removed = _rewrite_all(store, likely, request_id)
    if not num_removed:  # a caller may have made the id, by a clock of its own
        others = sorted(set(store.find(f"{RECORDS}/")) - set(likely))
        num_removed = _rewrite_all(store, others, request_id)
    return num_removed + _rewrite_all(store, store.find(f"{LABELS}/"), request_id)


def _rewrite_all(store: Store, keys: Sequence[str], request_id: str) -> int:
    return sum(_rewrite_without(store, key, request_id) for key in keys)


def picture_name(request_id: str, crop_index: int) -> str:
    """The name of a crop's picture beside a report; no other file there shows handwriting."""
    return f"{fingerprint(request_id)[:32]}-{crop_index}.png"


def erase_pictures(reports: Store, request_id: str) -> int:
    """Remove a request's pictures from every report; returns how many went."""
    start = f"/{fingerprint(request_id)[:32]}-"
    pictures = [key for key in reports.find("") if start in key]
    reports.delete(pictures)
    return len(pictures)


def _where(request_id: str) -> list[str]:
    """The days to search first: a uuid7 carries its time, give or take a day for wrong clocks."""
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


def _without_erased(table: pa.Table, erased: frozenset[str]) -> pa.Table:
    if not erased:
        return table
    keep = [fingerprint(request_id) not in erased for request_id in table["request_id"].to_pylist()]
    return table.filter(pa.array(keep, pa.bool_()))


def _dedupe(table: pa.Table) -> pa.Table:
    table = table.append_column("row", pa.array(range(table.num_rows), pa.int64()))
    first = table.group_by(KEY).aggregate([("row", "min")])["row_min"]
    return table.take(first.combine_chunks().sort()).drop_columns("row")


def encode(table: pa.Table) -> bytes:
    """Write a table as every file of the archive is: Parquet, zstd."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def decode(data: bytes) -> pa.Table:
    """Read what `encode` wrote."""
    return pq.read_table(io.BytesIO(data))
