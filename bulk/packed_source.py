"""A tar (packed or not) or zip: each member that is a picture is an input.

Neither can be read from the middle by several workers, so the listing process reads the members
and hands them over with the shard.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO, Final, NamedTuple

import pyarrow as pa

from bulk.folder_source import cut, is_picture, too_large
from bulk.inputs import Crop, Inputs, IsWanted, Shard, Skip, SourceError
from capture.store import open_store
from model.decode_cost import MAX_FILE_BYTES
from model.errors import UnreadableCrop

TARS: Final = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
SHARD_BYTES: Final = 32 * 1024 * 1024  # travel to a worker in one message
_READ_BYTES: Final = 8 * 1024 * 1024  # of S3 in one request
# ArrowInvalid: the file ends before what must be at its end.
_DAMAGED: Final = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, pa.ArrowInvalid)
_DAMAGED_MEMBER: Final = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, NotImplementedError,
)  # fmt: skip


class Member(NamedTuple):
    """One file in the tar or zip; `read` must be called before the next one is asked for."""

    name: str
    num_bytes: int
    stamp: str
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class PackedCrops:
    """A shard: the files themselves."""

    names: tuple[str, ...]
    crops: tuple[Crop, ...]

    def chunks(self) -> Iterator[Inputs]:
        """Hand out 256 files or 16 MB at once."""
        for start, end in cut([len(one) if isinstance(one, bytes) else 0 for one in self.crops]):
            yield Inputs(self.names[start:end], self.crops[start:end])


@dataclass(frozen=True, slots=True)
class PackedSource:
    """One tar or zip file."""

    url: str  # of its folder
    key: str
    shard_rows: int
    kind: str  # tar or zip
    lists_once: bool = False

    def shards(self, is_wanted: IsWanted, skip: Skip) -> Iterator[Shard]:
        """Read through the file; members of shards that are not wanted are passed over."""
        filling = _Filling()
        with contextlib.ExitStack() as stack:
            try:
                for member in self._members(stack, skip):
                    if filling.names and filling.is_full(member, self.shard_rows):
                        yield filling.shard()
                        filling = _Filling(filling.index + 1)
                    filling.add(member, is_wanted(filling.index))
            except _DAMAGED as error:
                raise SourceError(
                    f"{self.key} is damaged or empty ({error}); pack it again, or unpack it and "
                    "give the folder"
                ) from error
        if filling.names:
            yield filling.shard()

    def _members(self, stack: contextlib.ExitStack, skip: Skip) -> Iterator[Member]:
        filesystem, root = open_store(self.url).arrow()
        path = f"{root}/{self.key}"
        if self.kind == "tar":
            stream = filesystem.open_input_stream(path, compression=None, buffer_size=_READ_BYTES)
            return _tar_members(stack.enter_context(stream), skip)
        file = stack.enter_context(filesystem.open_input_file(path))
        return _zip_members(io.BufferedReader(file, _READ_BYTES), skip)


class _Filling:
    """The shard that is being filled."""

    def __init__(self, index: int = 0) -> None:
        self.index = index
        self.names: list[str] = []
        self._crops: list[Crop] = []
        self._digest = hashlib.sha256()
        self._num_bytes = 0

    def is_full(self, coming: Member, shard_rows: int) -> bool:
        size = min(coming.num_bytes, MAX_FILE_BYTES)
        return len(self.names) == shard_rows or self._num_bytes + size > SHARD_BYTES

    def add(self, member: Member, is_wanted: bool) -> None:  # noqa: FBT001
        self.names.append(member.name)
        self._digest.update(f"{member.name}\0{member.stamp}\n".encode(errors="surrogateescape"))
        self._num_bytes += min(member.num_bytes, MAX_FILE_BYTES)
        if is_wanted:
            self._crops.append(_read(member))

    def shard(self) -> Shard:
        content = PackedCrops(tuple(self.names), tuple(self._crops)) if self._crops else None
        return Shard(
            self.index, len(self.names), self._num_bytes, self._digest.hexdigest(), content
        )


def _read(member: Member) -> Crop:
    if member.num_bytes > MAX_FILE_BYTES:
        return too_large(member.num_bytes)
    try:
        return member.read()
    except _DAMAGED_MEMBER as error:
        return UnreadableCrop(f"the member cannot be unpacked ({error}); pack it again")


def _tar_members(file: IO[bytes], skip: Skip) -> Iterator[Member]:
    with tarfile.open(fileobj=file, mode="r|*") as tar:
        while (info := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # else it keeps every member
            if not info.isreg():
                if not info.isdir():
                    skip(info.name, "no regular file")
            elif not is_picture(info.name):
                skip(info.name, "no PNG or JPEG by its name")
            else:
                stamp = f"{info.size}-{info.mtime}-{info.chksum}"
                yield Member(info.name, info.size, stamp, partial(_of_tar, tar, info))


def _of_tar(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(info)
    assert file is not None, f"{info.name} is no regular file"
    return file.read()


def _zip_members(file: IO[bytes], skip: Skip) -> Iterator[Member]:
    with zipfile.ZipFile(file) as packed:
        for info in packed.infolist():
            if info.is_dir():
                continue
            if not is_picture(info.filename):
                skip(info.filename, "no PNG or JPEG by its name")
                continue
            stamp = f"{info.file_size}-{info.CRC}"
            yield Member(info.filename, info.file_size, stamp, partial(_of_zip, packed, info))


def _of_zip(packed: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Read a member; its size is what the zip says, so no more is unpacked."""
    with packed.open(info) as file:
        try:
            return file.read(info.file_size)
        except OSError as error:
            if info.compress_type != zipfile.ZIP_BZIP2:  # the store's; bz2 has no error of its own
                raise
            raise zipfile.BadZipFile(str(error)) from error
