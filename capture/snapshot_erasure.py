"""Removes rows from data snapshots, and marks the champions that were trained on them.

A snapshot is changed by erasure only. Its new manifest says so: which file was rewritten, with its
old and new sha256, and the data version that it was before. Knows nothing about the archive.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from capture.snapshot_files import (
    JSON,
    MANIFEST,
    PARTS,
    SNAPSHOTS,
    manifest_bytes,
    months,
    put_rows,
    read_manifest,
    read_rows,
    version_of,
)
from capture.store import MissingKey, Store

RETRAIN_DUE: Final = "retrain_due.json"  # beside a champion's manifest
_DATA_VERSION: Final = re.compile(r'"(\d{4}-\d{2})-[0-9a-f]{8}"')  # in a champion's manifest

Mask = Callable[[pa.Table], pa.ChunkedArray]


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A snapshot that had the rows."""

    as_of: str
    from_version: str
    to_version: str
    num_removed: dict[str, int]  # train, test

    def __str__(self) -> str:
        removed = ", ".join(f"{num} from {part}" for part, num in self.num_removed.items() if num)
        return f"snapshot {self.from_version} is now {self.to_version}: {removed}"


def of_reads(read_ids: Collection[str]) -> Mask:
    """Choose the rows of these reads."""
    wanted = pa.array(sorted(read_ids), pa.string())
    return lambda rows: pc.is_in(rows["read_id"], wanted)


def of_set(name: str) -> Mask:
    """Choose the rows of an added set."""
    return lambda rows: pc.equal(rows["source"], name)


def erase_from_snapshots(data: Store, is_removed: Mask) -> list[Rewritten]:
    """Remove rows from every snapshot, and from files that a killed process left.

    A kill leaves the old snapshot or the new one; erasing again finishes it.

    Raises:
        ValueError: a snapshot is damaged.
        StoreError: the store failed.
    """
    found = [_rewrite(data, as_of, is_removed) for as_of in months(data)]
    _remove_leftovers(data, is_removed)
    return [one for one in found if one is not None]


def _rewrite(data: Store, as_of: str, is_removed: Mask) -> Rewritten | None:
    old = read_manifest(data, as_of)
    assert old is not None, "months() lists what has a manifest"
    files, notes, num_removed = dict(old["files"]), list(old["rewritten"]), {}
    for part in PARTS:
        rows = read_rows(data, old, part)
        kept = rows.filter(pc.invert(is_removed(rows)))
        num_removed[part] = len(rows) - len(kept)
        if num_removed[part]:
            files[part] = put_rows(data, as_of, part, kept)
            note = {
                "part": part,
                "rows_removed": num_removed[part],
                "from_sha256": old["files"][part]["sha256"],
                "to_sha256": files[part]["sha256"],
                "from_version": version_of(old),
            }
            notes.append(note)
    if not any(num_removed.values()):
        return None
    num_rows = sum(entry["rows"] for entry in files.values())
    new: dict[str, Any] = old | {"files": files, "rewritten": notes, "rows": num_rows}
    data.put(f"{SNAPSHOTS}/{as_of}/{MANIFEST}", manifest_bytes(new), content_type=JSON)
    gone = {old["files"][part]["name"] for part in PARTS} - {one["name"] for one in files.values()}
    data.delete([f"{SNAPSHOTS}/{as_of}/{name}" for name in sorted(gone)])
    return Rewritten(as_of, version_of(old), version_of(new), num_removed)


def _remove_leftovers(data: Store, is_removed: Mask) -> None:
    """Delete files with such rows that no manifest names."""
    named = {
        f"{SNAPSHOTS}/{as_of}/{entry['name']}"
        for as_of in months(data)
        for entry in (read_manifest(data, as_of) or {"files": {}})["files"].values()
    }
    for key in data.find(f"{SNAPSHOTS}/"):
        if key.endswith(".parquet") and key not in named:
            rows = pq.read_table(pa.BufferReader(data.get(key)))
            if pc.any(is_removed(rows)).as_py():
                data.delete([key])


def mark_champions(
    models: Store, champion: Path, rewritten: Iterable[Rewritten], *, when: str
) -> list[str]:
    """Mark the champions that were trained on what was removed; returns their versions.

    The mark lies beside the manifest, in the model store and in the folder of the served model. It
    goes with the version: the next champion has none.

    Args:
        models: the model store.
        champion: the folder of the served model; it need not exist.
        rewritten: the snapshots that had the rows.
        when: ISO 8601.
    """
    months_of = {one.as_of for one in rewritten if one.num_removed["train"]}
    mark = {"retrain_due": True, "since": when, "because": "crops it was trained on were erased"}
    content = (json.dumps(mark | {"snapshots": sorted(months_of)}, indent=1) + "\n").encode()
    marked = set()
    for version, manifest in _kept_manifests(models):
        if months_of & set(_DATA_VERSION.findall(manifest)):
            models.put(f"{version}/{RETRAIN_DUE}", content, content_type=JSON)
            marked.add(version)
    served = champion / MANIFEST
    if served.exists() and months_of & set(_DATA_VERSION.findall(served.read_text())):
        (champion / RETRAIN_DUE).write_bytes(content)
        marked.add(str(json.loads(served.read_text())["version"]))
    return sorted(marked, key=int)


def _kept_manifests(models: Store) -> Iterator[tuple[str, str]]:
    for key in models.find(""):
        if key.count("/") == 1 and key.endswith(f"/{MANIFEST}"):
            yield key.partition("/")[0], models.get(key).decode()


def retrain_due(models: Store, version: str) -> str | None:
    """Since when a kept champion is to be replaced because of an erasure; None: it is not."""
    try:
        mark = json.loads(models.get(f"{version}/{RETRAIN_DUE}"))
    except MissingKey:
        return None
    return str(mark["since"])
