"""Labelled crops, copied out of the records so that they outlive them.

    labelled/HASH.parquet   the rows of crops that somebody labelled: pictures, answer, features

A crop is copied once, by `compact` and before `expire`. What people said of it stays in the events.
"""

from __future__ import annotations

import hashlib
from datetime import date
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds

from capture.archive import (
    KEPT,
    KEY,
    PARQUET,
    READ_ID,
    RECORDS,
    Window,
    encode,
    with_read_ids,
)
from capture.erasure import days_of, erased_ids, without_erased
from capture.labels import read_events
from capture.parquet_schema import SCHEMA
from capture.sampling import has_read_id, is_mail, open_dataset, read_pictures
from capture.store import Store

_READS_AT_ONCE: Final = 2_000  # of pictures in memory: about 20 MB


def keep_labelled(store: Store) -> int:
    """Copy the labelled crops that are not kept yet; returns their number.

    A kill leaves whole files; what is copied twice is read once.
    """
    keys = read_events(store)[KEY].drop_duplicates()
    kept = _kept_keys(store)
    is_new = [key not in kept for key in keys.itertuples(index=False, name=None)]
    wanted = keys[np.array(is_new, bool)]
    read_ids = sorted(set(wanted[READ_ID]))
    starts = range(0, len(read_ids), _READS_AT_ONCE)
    return sum(_keep(store, read_ids[at : at + _READS_AT_ONCE], wanted) for at in starts)


def _keep(store: Store, read_ids: list[str], wanted: pd.DataFrame) -> int:
    """Copy the crops of some reads, as one file."""
    files = _files_with(store, read_ids)
    rows = with_read_ids(open_dataset(store, files).to_table(filter=has_read_id(read_ids)))
    chosen = pa.Table.from_pandas(wanted, preserve_index=False)
    fields = [rows.schema.field(name) for name in KEY]
    chosen = chosen.select(KEY).cast(pa.schema(fields))
    places = rows.select(KEY).append_column("place", pa.array(range(len(rows)), pa.int64()))
    first = places.join(chosen, KEY, join_type="inner").group_by(KEY).aggregate([("place", "min")])
    found = without_erased(rows.take(first["place_min"].combine_chunks().sort()), erased_ids(store))
    if not len(found):
        return 0
    ids = "\n".join(f"{read_id}/{index}" for read_id, index in _keys_of(found))
    name = hashlib.sha256(ids.encode()).hexdigest()[:24]
    store.put(f"{KEPT}/{name}.parquet", encode(found), content_type=PARQUET)
    return len(found)


def _files_with(store: Store, read_ids: list[str]) -> list[str]:
    """The files of records that have one of these reads; only their ids are read for that.

    A read that is not in the files of its day is searched in all others: its clock may be wrong.
    """
    likely = {
        key
        for prefix in {p for one in read_ids for p in days_of(one)}
        for key in store.find(prefix)
        if is_mail(key)
    }
    found, ids = _search(store, sorted(likely), read_ids)
    missing = sorted(set(read_ids) - ids)
    if missing:
        others = {key for key in store.find(f"{RECORDS}/") if is_mail(key)} - likely
        found |= _search(store, sorted(others), missing)[0]
    return sorted(found)


def _search(store: Store, keys: list[str], read_ids: list[str]) -> tuple[set[str], set[str]]:
    """The files that have one of the reads, and the reads that were found."""
    rows = open_dataset(store, keys).to_table(
        columns=[READ_ID, "request_id", "__filename"], filter=has_read_id(read_ids)
    )
    root = store.arrow()[1]
    files = {path.removeprefix(f"{root}/") for path in rows["__filename"].to_pylist()}
    return files, set(with_read_ids(rows)[READ_ID].to_pylist())


def _kept_keys(store: Store) -> set[tuple[str, int]]:
    return set(_keys_of(_read_kept(store, KEY)))


def _keys_of(table: pa.Table) -> list[tuple[str, int]]:
    return list(zip(*(table[name].to_pylist() for name in KEY), strict=True))


def read_kept(store: Store, columns: list[str]) -> pa.Table:
    """Some columns of what is kept, without erased reads; of a crop that was kept twice, both rows.

    A kept row has its site as a column.
    """
    return without_erased(_read_kept(store, columns), erased_ids(store))


def _read_kept(store: Store, columns: list[str]) -> pa.Table:
    schema = SCHEMA.append(pa.field("site", pa.string()))
    filesystem, root = store.arrow()
    paths = [f"{root}/{key}" for key in store.find(f"{KEPT}/")]
    if not paths:
        return schema.empty_table().select(columns)
    return ds.dataset(paths, schema, "parquet", filesystem).to_table(columns=columns)


def read_labelled_pictures(store: Store, keys: list[tuple[str, int]]) -> pd.DataFrame:
    """Read image_png and crop_png of crops, whether kept or still among the records.

    Erased reads are left out.
    """
    columns = [*KEY, "image_png", "crop_png"]
    found = read_kept(store, columns).to_pandas()
    kept = found.drop_duplicates(KEY).set_index(KEY)
    kept = kept.loc[kept.index.isin(keys)]
    missing = [key for key in keys if key not in kept.index]
    days = sorted(key.split("/")[1] for key in store.find(f"{RECORDS}/"))
    if not days or not missing:
        return kept
    first, last = (date.fromisoformat(day.removeprefix("day=")) for day in (days[0], days[-1]))
    captured = read_pictures(store, Window(first, last), missing)
    return pd.concat([kept, captured[["image_png", "crop_png"]]])
