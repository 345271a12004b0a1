"""The segment that a process is writing: `NAME.live`, under an exclusive lock.

The kernel releases the lock when the process exits, for whatever reason. Knows nothing about what
is written.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from capture.frames import marker_of

LIVE: Final = ".live"
FINISHED: Final = ".done"


class SegmentLost(OSError):
    """Another hand has removed, renamed, replaced or changed the segment that is being written."""


class OpenSegment:
    """The file being written. Its age is by the monotonic clock: a wall clock may run backwards."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.size = 0
        self._descriptor = descriptor
        self._marker = marker_of(path.stem)
        self._name = str(path)
        self._opened_s = time.monotonic()
        # As the path has it: an overlay may give the descriptor another device.
        found = os.lstat(path)
        self._inode, self._device = found.st_ino, found.st_dev

    @classmethod
    def create(cls, folder: Path) -> OpenSegment:
        """Make a new file and lock it."""
        while True:
            name = f"{time.time_ns() // 1000:016d}-{secrets.token_hex(8)}"
            path = folder / (name + LIVE)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if os.fstat(descriptor).st_nlink:
                    return cls(path, descriptor)
            except OSError:
                os.close(descriptor)
                raise
            os.close(descriptor)  # `recover` took it for a dead process's before it was locked

    def write(self, frames: Sequence[bytes], num_bytes: int, *, fsync: bool) -> None:
        """Append frames with one system call, each behind the segment's marker.

        Args:
            frames: what `capture.frames.add_head` made.
            num_bytes: their length, with a marker for each.
            fsync: flush the disk, too.

        Raises:
            SegmentLost: the file at the path is not the one that was written.
            OSError: not all bytes were written.
        """
        marker = self._marker
        buffers = [marker] * (2 * len(frames))
        buffers[1::2] = frames
        written = os.writev(self._descriptor, buffers)
        if written != num_bytes:
            raise OSError(f"{written} of {num_bytes} bytes written to {self.path.name}")
        if fsync:
            os.fdatasync(self._descriptor)
        self.size += num_bytes
        lost = self.why_lost()
        if lost is not None:
            raise SegmentLost(lost)

    def why_lost(self) -> str | None:
        """How the file at the path differs from what was written; None if it does not.

        One call of stat finds a removed or replaced folder, too. What another hand does between
        this and the answer cannot be found.
        """
        try:
            found = os.lstat(self._name)
        except OSError as error:
            return f"{self._name} is gone: {error.strerror}"
        if found.st_ino != self._inode or found.st_dev != self._device:
            return f"{self._name} is another file than the one written"
        if found.st_size != self.size:
            return f"{self._name} has {found.st_size} bytes; {self.size} were written"
        return None

    def truncate_failed_write(self) -> None:
        """Cut off what a failed write left. If that fails too, readers skip the torn frame."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, self.size)

    def age_s(self) -> float:
        """Seconds since the file was made."""
        return time.monotonic() - self._opened_s

    def seal(self, *, fsync: bool) -> None:
        """Finish the file. Closing the descriptor releases the lock, after the rename.

        Raises:
            SegmentLost: the path has another file, which is left alone.
            OSError: it cannot be renamed; `recover` finishes it later.
        """
        try:
            lost = self.why_lost()
            if lost is not None:
                raise SegmentLost(lost)
            if fsync:
                os.fdatasync(self._descriptor)
            if self.size:
                self.path.rename(self.path.with_suffix(FINISHED))
            else:
                self.path.unlink()
        finally:
            os.close(self._descriptor)

    def abandon(self) -> None:
        """Stop writing the file without touching its path; `recover` finishes what is there."""
        os.close(self._descriptor)
