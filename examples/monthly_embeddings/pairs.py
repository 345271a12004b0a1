"""Pairs of a picture and its text as they arrive: a file a month, in a folder or `s3://`.

    arrivals/2026-05/pairs.parquet        what arrived in that month
    snapshots/2026-05/manifest.json       what had arrived by its end; never changed

Edge: reads and writes a store. Knows nothing about embeddings.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from capture.snapshot_files import (
    JSON,
    MANIFEST,
    SNAPSHOTS,
    check_month,
    manifest_bytes,
    read_manifest,
    sha256,
    version_of,
)
from capture.store import Store

ARRIVALS: Final = "arrivals"
PAIRS: Final = "pairs.parquet"
TEST_FRAC: Final = 0.2
SCHEMA: Final = pa.schema(
    [("name", pa.string()), ("text", pa.string()), ("group", pa.string()), ("image", pa.binary())]
)


class DataRefused(RuntimeError):
    """Arrived pairs cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One picture with its text. Pairs of one group are on one side of the split."""

    name: str  # what an answer shows
    text: str
    group: str
    image: bytes  # PNG or JPEG

    @property
    def is_test(self) -> bool:
        """True for a fifth of the groups, chosen by hash; it never changes."""
        digest = hashlib.sha256(self.group.encode()).digest()
        return int.from_bytes(digest[:4], "big") < TEST_FRAC * 2**32


@dataclass(frozen=True, slots=True)
class Arrived:
    """The pairs of one month."""

    month: str
    sha256: str  # of the file
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that had arrived by the end of a month."""

    version: str
    months: tuple[Arrived, ...]  # oldest first

    @property
    def pairs(self) -> list[Pair]:
        """Those of all months."""
        return [pair for month in self.months for pair in month.pairs]

    @property
    def months_of_pairs(self) -> list[str]:
        """In which month each of them arrived."""
        return [month.month for month in self.months for _ in month.pairs]

    @property
    def is_test(self) -> NDArray[np.bool_]:
        """(N,) which of them are of the test share."""
        return np.array([pair.is_test for pair in self.pairs], dtype=bool)


def put(store: Store, month: str, pairs: Sequence[Pair]) -> None:
    """Store the pairs of a month; what was there is replaced. Raises StoreError."""
    rows = [{name: getattr(pair, name) for name in SCHEMA.names} for pair in pairs]
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), content, compression="zstd")
    key = f"{ARRIVALS}/{check_month(month)}/{PAIRS}"
    store.put(key, content.getvalue(), content_type="application/vnd.apache.parquet")


def arrived(store: Store, as_of: str) -> list[Arrived]:
    """The months up to one, oldest first.

    Raises:
        DataRefused: a file has other columns, or a pair without text, name or picture.
        StoreError: the store failed.
    """
    keys = sorted(key for key in store.find(f"{ARRIVALS}/") if key.endswith(f"/{PAIRS}"))
    return [_read(store, key) for key in keys if key.split("/")[1] <= as_of]


def num_before(store: Store, end: datetime) -> int:
    """How many pairs had arrived before the end of a month. Raises as `arrived`."""
    return sum(len(one.pairs) for one in arrived(store, f"{end - timedelta(1):%Y-%m}"))


def _read(store: Store, key: str) -> Arrived:
    data = store.get(key)
    try:
        rows = pq.read_table(io.BytesIO(data)).select(SCHEMA.names).cast(SCHEMA).to_pylist()
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise DataRefused(f"{store.url}/{key} has no columns {SCHEMA.names}: {error}") from error
    for place, row in enumerate(rows):
        if not all(row.values()):
            lacking = next(name for name, value in row.items() if not value)
            raise DataRefused(f"{store.url}/{key}, row {place} has no {lacking}; mend the file")
    pairs = tuple(Pair(**row) for row in rows)
    return Arrived(key.split("/")[1], sha256(data), pairs)


def snapshot(store: Store, as_of: str) -> Snapshot:
    """Note what has arrived by the end of a month, once, and read it.

    Raises:
        DataRefused: a file is another one than the month's snapshot names, or nothing arrived.
        StoreError: the store failed.
    """
    months = arrived(store, as_of)
    made: dict[str, Any] = {
        "schema": 1,
        "as_of": as_of,
        "files": {one.month: {"rows": len(one.pairs), "sha256": one.sha256} for one in months},
    }
    stored = read_manifest(store, check_month(as_of))
    if not months:
        raise DataRefused(f"nothing has arrived in {store.url}/{ARRIVALS} by the end of {as_of}")
    if stored is None:
        key = f"{SNAPSHOTS}/{as_of}/{MANIFEST}"
        store.put_new(key, manifest_bytes(made), content_type=JSON)
    elif stored["files"] != made["files"]:
        raise DataRefused(
            f"the snapshot of {as_of} has other files than are there now, and is never changed; "
            "what came or was mended later is in the next month's"
        )
    return Snapshot(version_of(stored or made), tuple(months))
