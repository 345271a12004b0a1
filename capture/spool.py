"""The spool: an answered crop is on disk before its 200 is sent.

One append-only segment per process, framed so that a killed process loses nothing that was
acknowledged and a torn tail is recognised:

    "DGL1"  length (u32)  crc32 of the payload (u32)  payload

A segment being written is ``NAME.open`` under an exclusive lock, which the kernel drops when its
process dies however it dies. A finished one is ``NAME.seg``. Whoever finds an unlocked ``.open``
(the next process, or the shipper) cuts its torn tail and finishes it.

This module knows nothing about Parquet, S3 or the network.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import struct
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from capture import record as records
from capture.record import CaptureRecord

MAGIC = b"DGL1"
_FRAME = struct.Struct("<4sII")
_OPEN, _SEALED = ".open", ".seg"
_PROBE_BYTES = 65_536  # a disk that cannot take this cannot take a few more crops
_SAMPLE_SCALE = 2**32
_SUM_BYTES = 4_096  # of a checksum at a time: with more, zlib would change threads meanwhile
_MOST_FRAMES = 1_000  # in one write: the kernel takes 1,024 buffers


class SpoolError(OSError):
    """The record is not on disk: answer 503, never 200."""


@dataclass(frozen=True, slots=True)
class SpoolStats:
    """What happened to records since the spool was opened."""

    num_appended: int
    num_failed: int
    num_sampled_out: int
    num_bytes: int


@dataclass(frozen=True, slots=True)
class SegmentEnd:
    """How far a segment can be trusted."""

    num_records: int
    good_bytes: int  # up to and including the last whole frame
    bad_bytes: int  # damaged bytes in front of that, skipped
    torn_bytes: int  # after it: the record that a kill cut short


class Spool:
    """Appends records to segments in a folder, from any thread of one process.

    Args:
        folder: made if missing; several processes may share it.
        max_segment_bytes: a segment is finished when it reaches this size ...
        max_segment_age_s: ... or this age, even when nothing more arrives.
        sample_frac: share of requests kept, chosen by a hash of the request id, so that a
            request's crops stay together and a retried request gets the same answer.
        keep_originals: False leaves the sender's crop out; the 28x28 image stays.
        fsync: also survive a power cut, at the price of one disk flush per record. Of use only
            on a disk that outlives the task.

    Raises:
        SpoolError: the folder cannot be made or written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_segment_bytes: int = 8 * 1024 * 1024,
        max_segment_age_s: float = 20.0,
        sample_frac: float = 1.0,
        keep_originals: bool = True,
        fsync: bool = False,
    ) -> None:
        self._folder = folder
        self._max_segment_bytes = max_segment_bytes
        self._max_segment_age_s = max_segment_age_s
        self._sample_below = round(sample_frac * _SAMPLE_SCALE)
        self._keep_originals = keep_originals
        self._fsync = fsync
        self._lock = threading.Lock()
        self._segment: _Segment | None = None
        self._failing = False
        self._closed = threading.Event()
        self._num_appended = self._num_failed = self._num_sampled_out = self._num_bytes = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            recover(folder)
            self._probe()
        except OSError as error:
            raise SpoolError(f"cannot write the capture spool {folder}: {error}") from error
        self._sealer = threading.Thread(target=self._seal_when_old, name="spool", daemon=True)
        self._sealer.start()

    def wants(self, request_id: str) -> bool:
        """Tell whether this request is in the sample, so that others need no record made."""
        return is_sampled(request_id, self._sample_below)

    def append(self, record: CaptureRecord) -> None:
        """Put one record on disk, or raise: there is nothing in between.

        A record outside the sample is counted and left out.

        Raises:
            SpoolError: the disk is full, read-only or gone, or the spool is closed. What was
                half written is taken back; the next append tries again.
            RecordError: the record itself is malformed, which is a bug of the caller.
        """
        if not self.wants(record.request_id):
            with self._lock:
                self._num_sampled_out += 1
            return
        self.append_frames([self.frame(record)])

    def frame(self, record: CaptureRecord) -> bytes:
        """Lay a record out for `append_frames`. It must be in the sample.

        Raises:
            RecordError: it is malformed.
        """
        payload = records.encode(record, with_crop=self._keep_originals)
        checksum = zlib.crc32(payload[:_SUM_BYTES])
        for start in range(_SUM_BYTES, len(payload), _SUM_BYTES):
            checksum = zlib.crc32(payload[start : start + _SUM_BYTES], checksum)
        return _FRAME.pack(MAGIC, len(payload), checksum) + payload

    def append_frames(self, frames: Sequence[bytes]) -> None:
        """Put records on disk together, in one write where one is enough.

        A write costs two switches of threads beside its work, and with `fsync` a flush of the
        disk: records that are ready at the same time share it.

        Raises:
            SpoolError: not all of them are on disk; none may be answered.
        """
        with self._lock:
            for group in self._groups(frames):
                num_bytes = sum(map(len, group))
                try:
                    self._write(group, num_bytes)
                except OSError as error:
                    self._num_failed += len(group)
                    self._failing = True
                    raise SpoolError(f"{len(group)} records are not captured: {error}") from error
                self._failing = False
                self._num_appended += len(group)
                self._num_bytes += num_bytes

    def _groups(self, frames: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
        """As many at once as one write and one segment take."""
        start, num_bytes = 0, 0
        for number, frame in enumerate(frames):
            num_bytes += len(frame)
            if number > start and (
                num_bytes > self._max_segment_bytes or number - start == _MOST_FRAMES
            ):
                yield frames[start:number]
                start, num_bytes = number, len(frame)
        yield frames[start:]

    def writable(self) -> bool:
        """For readiness: could a record be appended now?

        Costs one look at the free space; after a failure, a real write to a scratch file.
        """
        if self._closed.is_set():
            return False
        try:
            if self._failing:
                self._probe()
                self._failing = False
            disk = os.statvfs(self._folder)
        except OSError:
            return False
        return disk.f_bavail * disk.f_frsize >= _PROBE_BYTES and not disk.f_flag & os.ST_RDONLY

    def stats(self) -> SpoolStats:
        """Count what was appended, refused by the disk, and left out by sampling."""
        return SpoolStats(
            self._num_appended, self._num_failed, self._num_sampled_out, self._num_bytes
        )

    def flush(self) -> None:
        """Finish the current segment, so that the shipper takes it now.

        Raises:
            SpoolError: it cannot be renamed. Its records are whole all the same.
        """
        with self._lock:
            try:
                self._seal()
            except OSError as error:
                raise SpoolError(f"cannot finish a segment in {self._folder}: {error}") from error

    def close(self) -> None:
        """Finish the current segment and refuse more; call it on SIGTERM, after the last answer."""
        self._closed.set()
        self.flush()
        if self._sealer is not threading.current_thread():
            self._sealer.join(timeout=2)

    def _write(self, frames: Sequence[bytes], num_bytes: int) -> None:
        if self._closed.is_set():
            raise OSError(f"the spool {self._folder} is closed")
        segment = self._segment
        if segment is None or segment.size + num_bytes > self._max_segment_bytes:
            self._seal()
            segment = self._segment = _Segment.create(self._folder)
            if self._fsync:
                sync_folder(self._folder)
        try:
            segment.write(frames, num_bytes, fsync=self._fsync)
        except OSError:
            segment.take_back()
            with contextlib.suppress(OSError):  # else whoever recovers the folder finishes it
                self._seal()  # the shipper may make room by taking it
            raise

    def _seal(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.seal(fsync=self._fsync)

    def _seal_when_old(self) -> None:
        while not self._closed.wait(min(1.0, self._max_segment_age_s / 4)):
            with self._lock:
                segment = self._segment
                if segment is None or segment.age_s() < self._max_segment_age_s:
                    continue
                try:
                    self._seal()
                except OSError:  # its records are whole; whoever recovers the folder finishes it
                    self._failing = True

    def _probe(self) -> None:
        path = self._folder / f".probe-{os.getpid()}-{secrets.token_hex(4)}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if os.write(descriptor, b"\0" * _PROBE_BYTES) < _PROBE_BYTES:
                raise OSError(f"no room for {_PROBE_BYTES} bytes in {self._folder}")
        finally:
            os.close(descriptor)
            path.unlink()


class _Segment:
    """The file being written. Ages by the monotonic clock: the wall clock may run backwards."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.size = 0
        self._descriptor = descriptor
        self._opened_s = time.monotonic()

    @classmethod
    def create(cls, folder: Path) -> _Segment:
        while True:
            name = f"{time.time_ns() // 1000:016d}-{secrets.token_hex(8)}"
            path = folder / (name + _OPEN)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return cls(path, descriptor)
            os.close(descriptor)  # taken for a dead process's file before it was locked

    def write(self, frames: Sequence[bytes], num_bytes: int, *, fsync: bool) -> None:
        written = os.writev(self._descriptor, frames)
        if written != num_bytes:
            raise OSError(f"{written} of {num_bytes} bytes written to {self.path.name}")
        if fsync:
            os.fdatasync(self._descriptor)
        self.size += num_bytes

    def take_back(self) -> None:
        """Cut what a failed write left. Should even that fail, readers skip the torn frame."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, self.size)

    def age_s(self) -> float:
        return time.monotonic() - self._opened_s

    def seal(self, *, fsync: bool) -> None:
        """Finish the file. The lock falls with the descriptor, after the new name is there."""
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


def is_sampled(request_id: str, sample_below: int) -> bool:
    """Decide by hash whether a request is kept; `sample_below` is the share times 2**32."""
    return sample_below >= _SAMPLE_SCALE or zlib.crc32(request_id.encode()) < sample_below


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
    except FileNotFoundError:  # another process was quicker
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
    except BlockingIOError:  # its process lives
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
        yield records.decode(data[start:end])


def erase(folder: Path, request_id: str) -> int:
    """Remove a request from the finished segments; returns how many records went.

    A segment still being written is finished and shipped within seconds: the archive then drops
    the request, because its id is on the archive's erased list.
    """
    num_removed = 0
    for path in sealed_segments(folder):
        data = path.read_bytes()
        kept = bytearray()
        for start, end in _frames(data):
            if records.decode(data[start:end]).request_id == request_id:
                num_removed += 1
            else:
                kept += data[start - _FRAME.size : end]
        if len(kept) < len(data):
            rewritten = path.with_suffix(".tmp")
            rewritten.write_bytes(kept)
            rewritten.replace(path)
    return num_removed


def measure(path: Path) -> SegmentEnd:
    """Tell what of a segment is whole."""
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
