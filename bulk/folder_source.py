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
from bulk.listing import Found, stamp_of, walk
from capture.store import MissingKey, Store, open_store
from model.decode_cost import MAX_FILE_BYTES
from model.errors import CropSizeError

ENDINGS: Final = (".png", ".jpg", ".jpeg")
_REQUESTS_AT_ONCE: Final = 16  # S3 requests are mostly waiting


class FileChanged(OSError):
    """A file is no longer the one that was listed."""


def is_picture(key: str) -> bool:
    """Whether a name is that of a PNG or JPEG file."""
    return key.endswith(ENDINGS) or key.lower().endswith(ENDINGS)


def too_large(num_bytes: int) -> CropSizeError:
    """The error of a file that is not read, because of its size."""
    return CropSizeError(
        f"the file has {num_bytes} bytes; at most {MAX_FILE_BYTES} are read: send a smaller picture"
    )


@dataclass(frozen=True, slots=True)
class PictureFiles:
    """A shard: files of one store."""

    url: str
    listed: bytes  # of each file its key and stamp, with a NUL after each

    def chunks(self) -> Iterator[Inputs]:
        """Read 256 files or 16 MB at once; a file that cannot be read is an error in its place."""
        store = open_store(self.url)
        parts = self.listed.decode(errors="surrogateescape").split("\0")
        keys, stamps = parts[:-1:2], parts[1::2]
        sizes = [int(stamp.partition("-")[0]) for stamp in stamps]
        for start, end in cut(sizes):
            some = keys[start:end]
            if self.url.startswith("s3://"):
                with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
                    crops = list(pool.map(partial(_object, store), some, sizes[start:end]))
            else:
                root = self.url.removeprefix("file://")
                paths = [f"{root}/{key}" for key in some]
                crops = list(map(_file, paths, sizes[start:end], stamps[start:end]))
            yield Inputs(some, crops)


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


def _file(path: str, num_bytes: int, stamp: str) -> Crop:
    """Read a local file; four system calls take half the time of Path.read_bytes."""
    if num_bytes > MAX_FILE_BYTES:
        return too_large(num_bytes)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            data = os.read(descriptor, num_bytes)
            if stamp_of(os.fstat(descriptor)) != stamp:
                return FileChanged("the file changed after it was listed; read it again")
        finally:
            os.close(descriptor)
    except OSError as error:
        return error
    return data


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

    @property
    def lists_once(self) -> bool:
        """Listing takes as long as reading; a file of a disk that changed is found when read."""
        return not self.url.startswith("s3://")

    def shards(self, is_wanted: IsWanted, skip: Skip) -> Iterator[Shard]:
        """Cut the listing into runs of `shard_rows` files."""
        files: list[Found] = []
        index = 0
        for found in walk(open_store(self.url), skip):
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
        listed = "".join([f"{found.key}\0{found.stamp}\0" for found in files])
        data = listed.encode(errors="surrogateescape")
        content = PictureFiles(self.url, data) if is_wanted(index) else None
        num_bytes = sum([found.num_bytes for found in files])
        return Shard(index, len(files), num_bytes, hashlib.sha256(data).hexdigest(), content)
