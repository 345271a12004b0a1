"""Reads a fair sample of the archive, in memory that does not grow with it, and single pictures.

Knows nothing about what the rows are read for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from capture.archive import KEY, RECORDS, Window, sample_key, with_read_ids
from capture.damaged import whole_files
from capture.erasure import erased_ids, without_erased
from capture.labels import LABEL_SCHEMA
from capture.parquet_schema import SCHEMA
from capture.store import Store

SYNTHETIC_SITE: Final = "golden-read"  # sends the same crops again and again (docs/deploy.md)
_HASHES: Final = 2**32
_SAMPLE_SLACK: Final = 1.05  # duplicates and chance
_IS_BULK: Final = pc.coalesce(pc.field("is_bulk"), pc.scalar(False))  # noqa: FBT003 - Arrow's


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of a window, about `max_rows` at most, and how many there are in all."""

    rows: pd.DataFrame  # columns asked for, ids, day, site, sample_key; one row for each key
    labelled: pd.DataFrame  # the same columns of every labelled row, sampled or not
    marked: pd.DataFrame  # the same columns of every row that is marked for the audit
    num_stored: int  # rows of scanner traffic in the archive before dedupe
    num_by_site: Mapping[str, int]  # the same, of each site
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

    Rows are chosen by a hash of the key, so duplicates are chosen together and reading again gives
    the same rows. Of each site at least `min_rows_per_site` are read where it has them, so that a
    small site can be judged; rows with a sample_key below `sample_below` exclude these extra rows.
    Labelled and marked rows are few, so all of the window's are read beside the sample. Rows of
    bulk requests are in neither sample nor count: they are no scanner traffic. Nor are reads of
    `SYNTHETIC_SITE`, which are no mail.

    Raises:
        StoreError, OSError: the archive cannot be read.
    """
    keys = _files_of_mail(store, window)
    wanted = [
        *dict.fromkeys([*KEY, "request_id", "sample_key", "audit_probability", "is_bulk", *columns])
    ]
    dataset = open_dataset(store, keys)
    rows_by_site = _count_by_site(dataset)
    num_stored = sum(rows_by_site.values())
    below = hash_limit(max_rows, num_stored)
    labels = LABEL_SCHEMA.empty_table().to_pandas() if labels is None else labels
    labelled_keys = pa.array(
        map(sample_key, labels["read_id"], labels["crop_index"]), type=pa.int64()
    )
    tables = []
    for site, num_rows in rows_by_site.items():
        site_below = max(below, hash_limit(min_rows_per_site, num_rows))
        key = ds.field("sample_key")
        is_marked = ds.field("audit_probability") > 0
        chosen = (ds.field("site") == site) & (
            (~_IS_BULK & (key < site_below)) | key.isin(labelled_keys) | is_marked
        )
        table = dataset.to_table(columns=[*wanted, "day", "site"], filter=chosen)
        is_bulk = pc.fill_null(table["is_bulk"], False)  # noqa: FBT003 - Arrow's
        is_sampled = pc.and_not(pc.less(table["sample_key"], site_below), is_bulk)
        tables.append(table.append_column("is_sampled", is_sampled))
    if not tables:
        none = open_dataset(store, []).to_table().to_pandas()
        return Sample(none, none, none, num_stored, {}, below)
    rows = without_erased(with_read_ids(pa.concat_tables(tables)), erased_ids(store))
    frame = rows.to_pandas().drop_duplicates(KEY).sort_values("sample_key", ignore_index=True)
    sampled = frame.pop("is_sampled").to_numpy(bool)
    labelled = frame.merge(labels[KEY], on=KEY)
    marked = frame[frame["audit_probability"] > 0].reset_index(drop=True)
    fair = frame[sampled].reset_index(drop=True)
    return Sample(fair, labelled, marked, num_stored, rows_by_site, below)


def read_pictures(store: Store, window: Window, keys: Sequence[tuple[str, int]]) -> pd.DataFrame:
    """Read image_png and crop_png of a few records; synthetic reads have none."""
    files = _files_of_mail(store, window)
    columns = [*KEY, "request_id", "image_png", "crop_png"]
    chosen = has_read_id([read_id for read_id, _ in keys])
    rows = open_dataset(store, files).to_table(columns=columns, filter=chosen)
    frame = with_read_ids(rows).to_pandas().drop_duplicates(KEY).set_index(KEY)
    return frame.loc[frame.index.isin(list(keys))]


def _files_of_mail(store: Store, window: Window) -> list[str]:
    """Every file of the window, but those of the synthetic reads."""
    return [
        key for day in window.days() for key in store.find(f"{RECORDS}/day={day}/") if is_mail(key)
    ]


def is_mail(key: str) -> bool:
    """Whether a file of records holds mail; else the synthetic reads of `SYNTHETIC_SITE`."""
    return f"/site={SYNTHETIC_SITE}/" not in key


def has_read_id(read_ids: Sequence[str]) -> ds.Expression:
    """The filter for rows of these reads; rows from before there was a read_id count, too."""
    read_id = pc.coalesce(ds.field("read_id"), ds.field("request_id"))
    chosen: ds.Expression = read_id.isin(pa.array(read_ids, pa.string()))
    return chosen


def open_dataset(store: Store, keys: Sequence[str]) -> ds.Dataset:
    """Open files of the archive as one table, with the columns day and site.

    A damaged file is left out and logged.
    """
    keys = whole_files(store, keys)
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
    """Count the rows of scanner traffic; reads one column."""
    counts: dict[str, int] = {}
    for fragment in dataset.get_fragments():
        site = ds.get_partition_keys(fragment.partition_expression)["site"]
        scanner = fragment.scanner(schema=dataset.schema, columns=["is_bulk"], filter=~_IS_BULK)
        counts[site] = counts.get(site, 0) + scanner.count_rows()
    return counts


def hash_limit(max_rows: int, num_rows: int) -> int:
    """The sample_key below which about `max_rows` of `num_rows` rows are."""
    if num_rows <= max_rows:
        return _HASHES
    return min(_HASHES, int(_HASHES * _SAMPLE_SLACK * max_rows / num_rows))
