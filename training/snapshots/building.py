"""Build the snapshot of a month: captured and added crops, split and stored.

Edge: reads the capture archive and the data store, writes the data store.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from capture.archive import KEY
from capture.erasure import erased_ids, without_erased
from capture.snapshot_files import (
    PARTS,
    SCHEMA,
    months,
    read_manifest,
    read_rows,
    version_of,
)
from capture.store import Store
from training.data.mnist_files import DataError
from training.snapshots.added import read_added
from training.snapshots.captured import Captured, month_end, read_captured
from training.snapshots.reading import to_crops
from training.snapshots.splitting import split
from training.snapshots.writing import Written, write

Key = tuple[str, str, int]  # source, read id, crop index


def build(archive: Store, data: Store, as_of: str, *, git_commit: str) -> Written:
    """Store the snapshot of a month, unless it is there.

    Args:
        archive: the archive of captures.
        data: the data store.
        as_of: the month; what was labelled or read after it takes no part.
        git_commit: of the code that builds it.

    Raises:
        DataError: the month has another snapshot, or is before the latest one.
        ValueError: `as_of` is no month.
        StoreError, OSError: a store failed.
    """
    end = month_end(as_of)
    there = months(data)
    if as_of not in there and there and as_of < there[-1]:
        raise DataError(
            f"snapshots are made in order, and {there[-1]} is there already; what was labelled "
            f"until the end of {as_of} is in it"
        )
    before = max((month for month in there if month < as_of), default=None)
    parent, own = _stored(data, before), _stored(data, as_of if as_of in there else None)
    captured, added = read_captured(archive, as_of), read_added(data, end)
    rows = pa.concat_tables([captured.rows, *(one.rows for one in added)])
    carried = _carried(parent, set(_keys(rows)), captured, archive)
    rows = pa.concat_tables([rows, carried]).combine_chunks()
    in_test = pa.array(_split(rows, _parts_of(parent) | _parts_of(own)), pa.bool_())
    parts = {"train": rows.filter(pc.invert(in_test)), "test": rows.filter(in_test)}
    facts: dict[str, Any] = {
        "parent": version_of(parent.manifest) if parent else None,
        "label_events": captured.label_events,
        "left_out": captured.left_out,
        "carried_from_parent": len(carried),
        "added": {one.name: one.sha256 for one in added},
        "git_commit": git_commit,
    }
    return write(data, as_of, parts, facts)


@dataclass(frozen=True, slots=True)
class _Stored:
    manifest: dict[str, Any]
    parts: dict[str, pa.Table]


def _stored(data: Store, as_of: str | None) -> _Stored | None:
    manifest = read_manifest(data, as_of) if as_of else None
    if manifest is None:
        return None
    try:
        return _Stored(manifest, {part: read_rows(data, manifest, part) for part in PARTS})
    except ValueError as error:
        raise DataError(str(error)) from error


def _parts_of(stored: _Stored | None) -> dict[Key, bool]:
    """Of each crop of a snapshot, whether it is in the test share."""
    if stored is None:
        return {}
    return {key: part == "test" for part in PARTS for key in _keys(stored.parts[part])}


def _keys(rows: pa.Table) -> list[Key]:
    columns = (rows[name].to_pylist() for name in ("source", *KEY))
    return list(zip(*columns, strict=True))


def _carried(
    parent: _Stored | None, there: set[Key], captured: Captured, archive: Store
) -> pa.Table:
    """Crops of the parent that the archive no longer gives, but was not told to forget.

    In dispute, a crop of the test share keeps its label until a third person decides; a crop of the
    training part waits.
    """
    kept, erased = [SCHEMA.empty_table()], erased_ids(archive)
    for part, stored in (parent.parts if parent else {}).items():
        rows = without_erased(stored, erased)
        stays = [
            key not in there
            and key[1:] not in captured.withdrawn
            and (part == "test" or key[1:] not in captured.undecided)
            for key in _keys(rows)
        ]
        kept.append(rows.filter(pa.array(stays, pa.bool_())))
    return pa.concat_tables(kept)


def _split(rows: pa.Table, known: dict[Key, bool]) -> NDArray[np.bool_]:
    crops = zip(_keys(rows), rows["crop_png"].to_pylist(), strict=True)
    reads = [key[1] or hashlib.sha256(png).hexdigest() for key, png in crops]
    places = {row: known[key] for row, key in enumerate(_keys(rows)) if key in known}
    mail = to_crops(rows)
    return split(reads, mail.sites.tolist(), mail.images, places)
