"""Segments: the files of the spool, and how records are framed in them.

    "DGL1"  length (u32)  crc32 of the payload (u32)  payload

A killed process loses nothing that was acknowledged, and a torn tail is recognised. A segment that
is being written is ``NAME.open`` under an exclusive lock. The kernel releases the lock when the
process exits, for whatever reason. A finished segment is ``NAME.seg``. Whoever finds an unlocked
``.open`` (the next process, or the shipper) cuts its torn tail and finishes it.

Knows nothing about Parquet, S3 or the network.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from capture.record import CaptureRecord, decode

MAGIC = b"DGL1"
_FRAME = struct.Struct("<4sII")
_OPEN, _SEALED = ".open", ".seg"
# Bytes a call. For more, zlib releases the GIL, and the thread switch costs more than the checksum
# (python -m monitoring bench).
_CHECKSUM_BYTES = 4_096


@dataclass(frozen=True, slots=True)
class SegmentEnd:
    """How much of a segment is intact."""

    num_records: int
    good_bytes: int  # up to and including the last whole frame
    bad_bytes: int  # damaged bytes before that, skipped
    torn_bytes: int  # after that: a record that a kill cut short


def add_frame(payload: bytes) -> bytes:
    """Put an encoded record into the frame that a segment has around it."""
    checksum = zlib.crc32(payload[:_CHECKSUM_BYTES])
    for start in range(_CHECKSUM_BYTES, len(payload), _CHECKSUM_BYTES):
        checksum = zlib.crc32(payload[start : start + _CHECKSUM_BYTES], checksum)
    return _FRAME.pack(MAGIC, len(payload), checksum) + payload


class OpenSegment:
    """The file being written. Its age is by the monotonic clock: a wall clock may run backwards."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.size = 0
        self._descriptor = descriptor
        self._opened_s = time.monotonic()

    @classmethod
    def create(cls, folder: Path) -> OpenSegment:
        """Make a new file and lock it."""
        while True:
            name = f"{time.time_ns() // 1000:016d}-{secrets.token_hex(8)}"
            path = folder / (name + _OPEN)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return cls(path, descriptor)
            os.close(descriptor)  # `recover` took it for a dead process's before it was locked

    def write(self, frames: Sequence[bytes], num_bytes: int, *, fsync: bool) -> None:
        """Append frames with one system call. Raises OSError if not all bytes were written."""
        written = os.writev(self._descriptor, frames)
        if written != num_bytes:
            raise OSError(f"{written} of {num_bytes} bytes written to {self.path.name}")
        if fsync:
            os.fdatasync(self._descriptor)
        self.size += num_bytes

    def truncate_failed_write(self) -> None:
        """Cut off what a failed write left. If that fails too, readers skip the torn frame."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, self.size)

    def age_s(self) -> float:
        """Seconds since the file was made."""
        return time.monotonic() - self._opened_s

    def seal(self, *, fsync: bool) -> None:
        """Finish the file. Closing the descriptor releases the lock, after the rename."""
        try:
            if fsync:
                os.fdatasync(self._descriptor)
            if self.size:
                self.path.rename(self.path.with_suffix(_SEALED))
            else:
                self.path.unlink()
        finally:
            os.close(self._descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def recover(folder: Path) -> list[Path]:
    """Finish the segments of dead processes: cut each torn tail, drop what is empty.

    Segments of living processes are locked and left alone. Safe to run at any time, from any
    number of processes.

    Returns:
        The finished segments that were recovered.
    """
    recovered = []
    for path in sorted(folder.glob(f"*{_OPEN}")):
        sealed = _recover_one(path)
        if sealed is not None:
            recovered.append(sealed)
    return recovered


def _recover_one(path: Path) -> Path | None:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:  # another process recovered it
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not path.exists():
            return None
        end = measure(path)
        if end.num_records == 0:
            path.unlink()
            return None
        if end.torn_bytes:
            os.ftruncate(descriptor, end.good_bytes)
        sealed = path.with_suffix(_SEALED)
        path.rename(sealed)
    except BlockingIOError:  # its process is alive
        return None
    finally:
        os.close(descriptor)
    return sealed


def sealed_segments(folder: Path) -> list[Path]:
    """List the finished segments, oldest first."""
    return sorted(folder.glob(f"*{_SEALED}"))


def live_segments(folder: Path) -> list[Path]:
    """List the segments that a living process is still writing."""
    return [path for path in sorted(folder.glob(f"*{_OPEN}")) if _is_locked(path)]


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def read_segment(path: Path) -> Iterator[CaptureRecord]:
    """Yield every whole record of a segment, skipping damaged bytes."""
    data = path.read_bytes()
    for start, end in _frames(data):
        yield decode(data[start:end])


def erase_from_spool(folder: Path, request_id: str) -> int:
    """Remove a request from the finished segments; returns the number of records removed.

    A segment still being written is finished and shipped within seconds: the archive then drops
    the request, because its id is on the archive's erased list.
    """
    num_removed = 0
    for path in sealed_segments(folder):
        data = path.read_bytes()
        kept = bytearray()
        for start, end in _frames(data):
            if decode(data[start:end]).request_id == request_id:
                num_removed += 1
            else:
                kept += data[start - _FRAME.size : end]
        if len(kept) < len(data):
            rewritten = path.with_suffix(".tmp")
            rewritten.write_bytes(kept)
            rewritten.replace(path)
    return num_removed


def measure(path: Path) -> SegmentEnd:
    """Measure how much of a segment is intact."""
    data = path.read_bytes()
    num_records, good, framed = 0, 0, 0
    for start, end in _frames(data):
        num_records += 1
        good = end
        framed += end - start + _FRAME.size
    return SegmentEnd(num_records, good, good - framed, len(data) - good)


def _frames(data: bytes) -> Iterator[tuple[int, int]]:
    """Find the payloads whose frame and checksum hold; after damage, look for the next frame."""
    position = 0
    while (position := data.find(MAGIC, position)) != -1:
        start = position + _FRAME.size
        if start > len(data):
            return
        _, length, checksum = _FRAME.unpack_from(data, position)
        end = start + length
        if end <= len(data) and zlib.crc32(memoryview(data)[start:end]) == checksum:
            yield start, end
            position = end
        else:
            position += 1
