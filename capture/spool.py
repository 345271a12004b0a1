"""The spool: an answered crop is on disk before its 200 is sent.

One append-only segment for each process; `capture.open_segment` writes it and finds out if another
hand changed it. This module knows nothing about Parquet, S3 or the network.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from capture.frames import MARKER_BYTES, add_head
from capture.open_segment import OpenSegment, SegmentLost
from capture.record import CaptureRecord, encode
from capture.segments import recover, sync_folder

log = logging.getLogger(__name__)

_PROBE_BYTES = 65_536  # a disk that cannot take this cannot take a few more crops
_SAMPLE_SCALE = 2**32
_MAX_FRAMES = 500  # in one write: the kernel takes 1,024 buffers, and each has its marker


class SpoolError(OSError):
    """The record is not on disk: answer 503, never 200."""


class Spool:
    """Appends records to segments in a folder, from any thread of one process.

    Args:
        folder: made if missing; several processes may share it.
        max_segment_bytes: a segment is finished when it reaches this size ...
        max_segment_age_s: ... or this age, even when nothing more arrives.
        sample_frac: share of reads kept, chosen by a hash of the read id, so that the crops of a
            read stay together and no sender can choose.
        keep_originals: False leaves the sender's crop out; the 28x28 image stays.
        fsync: also survive a power cut; costs one disk flush per write. Useful only on a disk
            that outlives the task.

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
        self._segment: OpenSegment | None = None
        self._failing = False
        self._is_mount = False
        self._closed = threading.Event()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._is_mount = folder.is_mount()
            recover(folder)
            self._probe()
        except OSError as error:
            raise SpoolError(
                f"cannot write the capture spool {folder}: {error}; let DIGITS_CAPTURE_DIR be a "
                "folder that this user may write to"
            ) from error
        self._sealer = threading.Thread(target=self._seal_when_old, name="spool", daemon=True)
        self._sealer.start()

    def wants(self, read_id: str) -> bool:
        """Whether this read is in the sample; for others no record need be made."""
        return is_sampled(read_id, self._sample_below)

    def append(self, record: CaptureRecord) -> None:
        """Put one record on disk completely, or raise.

        A record outside the sample is left out.

        Raises:
            SpoolError: the disk is full, read-only or gone, another hand has removed or changed
                the folder or the segment, or the spool is closed. A partial write is cut off; the
                next append tries again, with a new segment.
            RecordError: the record is malformed, which is a bug of the caller.
        """
        if self.wants(record.read_id):
            self.append_frames([self.frame(record)])

    def frame(self, record: CaptureRecord) -> bytes:
        """Encode a record for `append_frames`. It must be in the sample.

        Raises:
            RecordError: it is malformed.
        """
        return add_head(encode(record, with_crop=self._keep_originals))

    def append_frames(self, frames: Sequence[bytes]) -> None:
        """Put records on disk together, in one write where one is enough.

        A write costs two thread switches, and with `fsync` a disk flush. Records that are ready at
        the same time share one write.

        Raises:
            SpoolError: not all of them are on disk; none may be answered with 200.
        """
        with self._lock:
            for group, num_bytes in self._groups(frames):
                try:
                    self._write(group, num_bytes)
                except OSError as error:
                    self._failing = True
                    raise SpoolError(f"{len(group)} records are not captured: {error}") from error
                self._failing = False

    def _groups(self, frames: Sequence[bytes]) -> Iterator[tuple[Sequence[bytes], int]]:
        """Split frames into groups for one write and one segment; yield each and its bytes."""
        if len(frames) == 1:  # as in an idle service: 1 us less
            yield frames, len(frames[0]) + MARKER_BYTES
            return
        start, group_bytes = 0, 0
        for number, frame in enumerate(frames):
            num_bytes = len(frame) + MARKER_BYTES
            if number > start and (
                group_bytes + num_bytes > self._max_segment_bytes or number - start == _MAX_FRAMES
            ):
                yield frames[start:number], group_bytes
                start, group_bytes = number, 0
            group_bytes += num_bytes
        yield (frames[start:] if start else frames), group_bytes

    def writable(self) -> bool:
        """Whether a record could be appended now; for readiness.

        Checks the segment that is being written and the free space; after a failure, writes a
        scratch file. Where the segment is lost, it is false once, and the next record goes to a
        new one.
        """
        if self._closed.is_set():
            return False
        try:
            self._check_segment()
            if self._failing:
                self._check_mount()
                self._probe()
                self._failing = False
            disk = os.statvfs(self._folder)
        except OSError:
            self._failing = True
            return False
        has_room = disk.f_bavail * disk.f_frsize >= _PROBE_BYTES
        may_write = os.access(self._folder, os.W_OK | os.X_OK)
        return has_room and may_write and not disk.f_flag & os.ST_RDONLY

    def _check_segment(self) -> None:
        """Look for another hand's change between two writes; during a write, the write looks.

        Raises:
            SegmentLost: there is one.
        """
        if not self._lock.acquire(blocking=False):
            return
        try:
            segment = self._segment
            lost = None if segment is None else segment.why_lost()
            if lost is not None:
                self._abandon(lost)
                raise SegmentLost(lost)
        finally:
            self._lock.release()

    def flush(self) -> None:
        """Finish the current segment, so that the shipper can take it now.

        Raises:
            SpoolError: it cannot be renamed. Its records are intact.
        """
        with self._lock:
            try:
                self._seal()
            except OSError as error:
                raise SpoolError(f"cannot finish a segment in {self._folder}: {error}") from error

    def close(self) -> None:
        """Finish the current segment and refuse more; call it on SIGTERM, after the last answer."""
        self._closed.set()
        try:
            self.flush()
        except SpoolError as error:  # the process ends anyway; `recover` finishes what is there
            log.error("%s", error)  # noqa: TRY400
        if self._sealer is not threading.current_thread():
            self._sealer.join(timeout=2)

    def _write(self, frames: Sequence[bytes], num_bytes: int) -> None:
        if self._closed.is_set():
            raise OSError(f"the spool {self._folder} is closed")
        segment = self._segment
        if segment is None or segment.size + num_bytes > self._max_segment_bytes:
            self._seal()
            self._check_mount()
            segment = self._segment = OpenSegment.create(self._folder)
            if self._fsync:
                sync_folder(self._folder)
        try:
            segment.write(frames, num_bytes, fsync=self._fsync)
        except SegmentLost as error:
            self._abandon(str(error))
            raise
        except OSError:
            segment.truncate_failed_write()
            with contextlib.suppress(OSError):  # if it fails, `recover` finishes it later
                self._seal()  # shipping it may free disk space
            raise

    def _seal(self) -> None:
        segment, self._segment = self._segment, None
        if segment is None:
            return
        try:
            segment.seal(fsync=self._fsync)
        except SegmentLost as error:
            log.error("%s; its answered records may be lost", error)  # noqa: TRY400
            raise

    def _abandon(self, lost: str) -> None:
        """Stop writing a segment that another hand has changed; the next write makes a new one."""
        segment, self._segment = self._segment, None
        log.error("%s; its answered records may be lost", lost)
        if segment is not None:
            segment.abandon()

    def _check_mount(self) -> None:
        """Refuse to write to the disk below where the spool's own disk was unmounted."""
        if self._is_mount and not self._folder.is_mount():
            raise OSError(f"nothing is mounted at {self._folder}, unlike at start")

    def _seal_when_old(self) -> None:
        while not self._closed.wait(min(1.0, self._max_segment_age_s / 4)):
            with self._lock:
                segment = self._segment
                if segment is None or segment.age_s() < self._max_segment_age_s:
                    continue
                try:
                    self._seal()
                except OSError:  # its records are intact; `recover` finishes it later
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


def is_sampled(read_id: str, sample_below: int) -> bool:
    """Decide by hash whether a read is captured; `sample_below` is the share times 2**32."""
    return sample_below >= _SAMPLE_SCALE or zlib.crc32(read_id.encode()) < sample_below
