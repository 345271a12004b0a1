"""Store a snapshot, once: the same content again changes nothing, other content is refused.

Edge: writes a folder or a bucket. Knows nothing about where the rows come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from capture.snapshot_files import (
    JSON,
    MANIFEST,
    PARTS,
    SNAPSHOTS,
    describe,
    manifest_bytes,
    put_rows,
    read_manifest,
    version_of,
)
from capture.store import KeyTaken, Store
from training.data.mnist_files import DataError

TEST_RULE = (
    "of each site a fifth of the reads, chosen by hash; what was once in test or train stays "
    "there; near-duplicates of a crop go where it is"
)


@dataclass(frozen=True, slots=True)
class Written:
    """A stored snapshot."""

    version: str
    is_new: bool
    num_train: int
    num_test: int


def write(
    store: Store, as_of: str, parts: Mapping[str, pa.Table], facts: Mapping[str, Any]
) -> Written:
    """Store the rows of `train` and `test` and the manifest, unless they are there.

    Args:
        store: the data store.
        as_of: the month.
        parts: rows with the columns of `capture.snapshot_files.SCHEMA`.
        facts: what else the manifest says.

    Raises:
        DataError: this month has a snapshot with other content.
        StoreError: the store failed.
    """
    described = {part: describe(part, parts[part])[0] for part in PARTS}
    manifest = {
        "schema": 1,
        "as_of": as_of,
        "rows": sum(entry["rows"] for entry in described.values()),
        "files": described,
        "test_rule": TEST_RULE,
        "rewritten": [],
        **facts,
    }
    stored = read_manifest(store, as_of)
    if stored is None:
        for part in PARTS:
            put_rows(store, as_of, part, parts[part])
        key = f"{SNAPSHOTS}/{as_of}/{MANIFEST}"
        try:
            store.put_new(key, manifest_bytes(manifest), content_type=JSON)
        except KeyTaken:
            stored = read_manifest(store, as_of)
    return _compare(as_of, manifest, stored)


def _compare(as_of: str, made: Mapping[str, Any], stored: Mapping[str, Any] | None) -> Written:
    """The snapshot that is stored now. Raises DataError: it is another one than was made."""
    now = made if stored is None else stored
    num = {part: now["files"][part]["rows"] for part in PARTS}
    if _content(now) != _content(made):
        then, found = (
            f"{one['rows']} crops from {one['label_events']['number']} label events"
            for one in (now, made)
        )
        raise DataError(
            f"the snapshot of {as_of} exists with other content and is never changed: it has "
            f"{then}, the archive now gives {found}. Labels that came late are in the snapshot of "
            "the next month: run `snapshot` with a later --as-of"
        )
    return Written(version_of(now), stored is None, num["train"], num["test"])


def _content(manifest: Mapping[str, Any]) -> list[str]:
    return [manifest["files"][part]["sha256"] for part in PARTS]
