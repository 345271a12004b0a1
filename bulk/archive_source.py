"""Our own archive of captured crops: each record is an input, named READ_ID/CROP_INDEX.

Shipping is at least once, so a record may be stored twice. Both copies have the same `sample_key`;
shards are cut by it, so that one worker sees both and reads one. Erased reads are left out. Nothing
is written to the archive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs
from numpy.typing import NDArray

from bulk.inputs import AT_ONCE, Crop, Inputs, IsWanted, Shard, Skip
from bulk.listing import Found, walk
from capture.archive import KEY, RECORDS, Window, with_read_ids
from capture.damaged import REMEDY, whole_files
from capture.erasure import erased_ids, without_erased
from capture.sampling import is_mail, open_dataset
from capture.store import Store, open_store
from model.decode import decode
from model.errors import CropError, UnreadableCrop

MOST_PARTS: Final = 8  # of one site's day: each part reads through all of its rows
_COLUMNS: Final = (*KEY, "request_id", "sample_key", "crop_png", "crop_scale", "image_png")


@dataclass(frozen=True, slots=True)
class SiteDay:
    """A shard: one site's day, or the records of it whose sample_key has a certain remainder."""

    url: str
    keys: tuple[str, ...]
    part: int
    num_parts: int

    def chunks(self) -> Iterator[Inputs]:
        """Read 256 records at once; copies of one that was read are counted."""
        store = open_store(self.url)
        erased = erased_ids(store)
        seen: set[tuple[str, int]] = set()
        for table in self._tables(store):
            kept = without_erased(with_read_ids(table), erased)
            keys = list(zip(*(kept[name].to_pylist() for name in KEY), strict=True))
            first = []
            for key in keys:
                first.append(key not in seen)
                seen.add(key)
            rows = kept.filter(pa.array(first, pa.bool_()))
            names = [
                f"{read_id}/{number}"
                for (read_id, number), is_first in zip(keys, first, strict=True)
                if is_first
            ]
            yield Inputs(names, crops_of_records(rows), table.num_rows - rows.num_rows)

    def _tables(self, store: Store) -> Iterator[pa.Table]:
        for key in self.keys:
            dataset = open_dataset(store, [key])
            for batch in dataset.to_batches(
                columns=list(_COLUMNS),
                batch_size=AT_ONCE,
                use_threads=False,
                batch_readahead=1,
                fragment_readahead=1,
            ):
                yield self._own(pa.Table.from_batches([batch]))

    def _own(self, table: pa.Table) -> pa.Table:
        """The rows of this part."""
        if self.num_parts == 1:
            return table
        return table.filter(pa.array(_remainder(table["sample_key"], self.num_parts) == self.part))


def crops_of_records(rows: pa.Table) -> list[Crop]:
    """A record's crop; where it is not kept or reduced, the image that the model saw."""
    columns = [rows[name].to_pylist() for name in ("crop_png", "crop_scale", "image_png")]
    return [_crop(*row) for row in zip(*columns, strict=True)]


def _crop(crop: bytes | None, scale: int | None, image: bytes | None) -> Crop:
    if crop is not None and scale in (None, 1):
        return crop
    if image is not None:
        try:
            return (decode(image).astype(np.float32) / np.float32(255)).reshape(1, 28, 28)
        except CropError as error:
            return error
    return UnreadableCrop("neither the crop nor the image is kept")


@dataclass(frozen=True, slots=True)
class ArchiveSource:
    """The records of an archive, of all days or some."""

    url: str
    shard_rows: int
    days: Window | None = None
    kind: str = field(default="archive")
    lists_once: bool = False

    def shards(self, is_wanted: IsWanted, skip: Skip) -> Iterator[Shard]:
        """Cut each site's day into at most eight shards; reads the footers only."""
        store = open_store(self.url)
        index = 0
        for folder, group in groupby(self._files(store, skip), key=lambda one: _folder(one.key)):
            files = list(group)
            if not is_mail(f"{folder}/"):
                skip(folder, "synthetic reads, which are no mail")
                continue
            keys = tuple(whole_files(store, [one.key for one in files]))
            for key in sorted({one.key for one in files} - set(keys)):
                skip(key, f"damaged; {REMEDY}")
            if not keys:
                continue
            counts = _counts(store, keys, self.shard_rows)
            stamp = hashlib.sha256("\n".join(f"{one.key} {one.stamp}" for one in files).encode())
            for part, number in enumerate(counts):
                content = SiteDay(self.url, keys, part, len(counts)) if is_wanted(index) else None
                size = sum(one.num_bytes for one in files) // len(counts)
                yield Shard(index, number, size, stamp.hexdigest(), content)
                index += 1

    def _files(self, store: Store, skip: Skip) -> Iterator[Found]:
        if self.days is None:
            yield from walk(store, skip, RECORDS)
            return
        existing = _days_of(store)
        for day in self.days.days():
            if day.isoformat() in existing:
                yield from walk(store, skip, f"{RECORDS}/day={day}")


def _days_of(store: Store) -> set[str]:
    filesystem, root = store.arrow()
    selector = pyarrow.fs.FileSelector(f"{root}/{RECORDS}", allow_not_found=True)
    return {entry.base_name.removeprefix("day=") for entry in filesystem.get_file_info(selector)}


def _folder(key: str) -> str:
    return key.rpartition("/")[0]


def _counts(store: Store, keys: Sequence[str], shard_rows: int) -> list[int]:
    """Rows of each part, copies included."""
    dataset = open_dataset(store, keys)
    num_rows = dataset.count_rows()
    parts = max(1, min(MOST_PARTS, -(-num_rows // shard_rows)))
    if parts == 1:
        return [num_rows]
    counts = np.zeros(parts, np.int64)
    for batch in dataset.to_batches(columns=["sample_key"]):
        counts += np.bincount(_remainder(batch.column(0), parts), minlength=parts)
    return [int(number) for number in counts]


def _remainder(sample_keys: pa.Array | pa.ChunkedArray, parts: int) -> NDArray[np.int64]:
    """Which part each record is in; the oldest records have no sample_key."""
    remainder: NDArray[np.int64] = pc.fill_null(sample_keys, 0).to_numpy() % parts
    return remainder
