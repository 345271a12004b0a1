"""A folder or prefix of PNG and JPEG files: each file is an input, its key the name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

from bulk.inputs import AT_ONCE, CHUNK_BYTES, Crop, Inputs, IsWanted, Shard, Skip
from bulk.listing import Found, walk
from capture.store import MissingKey, Store, open_store
from model.decode_cost import MAX_FILE_BYTES
from model.errors import CropSizeError

ENDINGS: Final = (".png", ".jpg", ".jpeg")
_REQUESTS_AT_ONCE: Final = 16  # S3 requests are mostly waiting


def is_picture(key: str) -> bool:
    """Whether a name is that of a PNG or JPEG file."""
    return key.lower().endswith(ENDINGS)


def too_large(num_bytes: int) -> CropSizeError:
    """The error of a file that is not read, because of its size."""
    return CropSizeError(
        f"the file has {num_bytes} bytes; at most {MAX_FILE_BYTES} are read: send a smaller picture"
    )


@dataclass(frozen=True, slots=True)
class PictureFiles:
    """A shard: files of one store."""

    url: str
    keys: tuple[str, ...]
    sizes: tuple[int, ...]

    def chunks(self) -> Iterator[Inputs]:
        """Read 256 files or 16 MB at once; a file that cannot be read is an error in its place."""
        store = open_store(self.url)
        for start, end in cut(self.sizes):
            keys = self.keys[start:end]
            yield Inputs(keys, self._read(store, keys, self.sizes[start:end]))

    def _read(self, store: Store, keys: Sequence[str], sizes: Sequence[int]) -> list[Crop]:
        if self.url.startswith("s3://"):
            with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
                return list(pool.map(partial(_object, store), keys, sizes))
        root = self.url.removeprefix("file://")
        return list(map(_file, [f"{root}/{key}" for key in keys], sizes))


def cut(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ranges of files that may be in memory together."""
    start = held = 0
    for place, size in enumerate(sizes):
        if place > start and (place - start == AT_ONCE or held + size > CHUNK_BYTES):
            yield start, place
            start, held = place, 0
        held += min(size, MAX_FILE_BYTES)
    if start < len(sizes):
        yield start, len(sizes)


def _file(path: str, num_bytes: int) -> Crop:
    """Read a local file; three system calls take half the time of Path.read_bytes."""
    if num_bytes > MAX_FILE_BYTES:
        return too_large(num_bytes)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            return os.read(descriptor, num_bytes)
        finally:
            os.close(descriptor)
    except OSError as error:
        return error


def _object(store: Store, key: str, size: int) -> Crop:
    """Read an object; one that is gone is a row's error, a store that fails is the shard's."""
    if size > MAX_FILE_BYTES:
        return too_large(size)
    try:
        return store.get(key)
    except MissingKey as error:
        return error


@dataclass(frozen=True, slots=True)
class FolderSource:
    """All pictures below a folder or prefix."""

    url: str
    shard_rows: int
    kind: str = "folder"

    def shards(self, is_wanted: IsWanted, skip: Skip) -> Iterator[Shard]:
        """Cut the listing into runs of `shard_rows` files."""
        files: list[Found] = []
        index = 0
        for found in walk(open_store(self.url)):
            if not is_picture(found.key):
                skip(found.key, "no PNG or JPEG by its name")
                continue
            files.append(found)
            if len(files) == self.shard_rows:
                yield self._shard(index, files, is_wanted)
                files, index = [], index + 1
        if files:
            yield self._shard(index, files, is_wanted)

    def _shard(self, index: int, files: list[Found], is_wanted: IsWanted) -> Shard:
        listed = "\n".join([f"{found.key}\0{found.stamp}" for found in files])
        digest = hashlib.sha256(listed.encode(errors="surrogateescape"))
        keys = tuple(found.key for found in files)
        sizes = tuple(found.num_bytes for found in files)
        content = PictureFiles(self.url, keys, sizes) if is_wanted(index) else None
        return Shard(index, len(files), sum(sizes), digest.hexdigest(), content)
