"""Segments: the files of the spool. `capture.frames` has how records lie in them.

A killed process loses nothing that was acknowledged, and a torn tail is recognised. A segment that
is being written is ``NAME.live`` under an exclusive lock, a finished one is ``NAME.done``. Whoever
finds an unlocked ``.live`` (the next process, or the shipper) cuts its torn tail and finishes it.
What the shipper could not read is kept as ``NAME.bad``. Version 0.1 wrote ``.open`` and ``.seg``,
which are read alike; it does not touch the new names.

Only regular files count: a folder, pipe or link with such a name is left alone. Knows nothing about
Parquet, S3 or the network.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final

from capture import answer_record, challenger_answer, label_event
from capture.codec import RecordError
from capture.frames import OLD_MAGIC, Kind, Part, split, split_old
from capture.open_segment import FINISHED, LIVE
from capture.record import CaptureRecord, decode

log = logging.getLogger(__name__)

_OLD_LIVE, _OLD_FINISHED = ".open", ".seg"
_FINISHED_AS: Final = {LIVE: FINISHED, _OLD_LIVE: _OLD_FINISHED}
BAD: Final = ".bad"


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_regular(path: Path, flags: int) -> int:
    """Open a file of the spool; never waits for a pipe and never follows a link.

    Raises:
        FileNotFoundError: it is gone, as when another process has shipped it.
        OSError: it cannot be opened, or is no regular file.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is no regular file")
    return descriptor


def read_bytes(path: Path) -> bytes:
    """Read a segment whole. Raises as `open_regular`."""
    with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
        return file.read()


def replace_bytes(path: Path, data: bytes) -> None:
    """Write a file of the spool whole or not at all, readable by its owner only."""
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def recover(folder: Path) -> list[Path]:
    """Finish the segments of dead processes: cut each torn tail, drop what is empty.

    Segments of living processes are locked and left alone. Safe to run at any time, from any
    number of processes. A segment that cannot be opened is logged and stops no other.

    Returns:
        The finished segments that were recovered.
    """
    recovered = []
    for path in _find(folder, *_FINISHED_AS):
        try:
            sealed = _recover_one(path)
        except OSError as error:
            log.warning("%s of a dead process cannot be finished: %s", path.name, error)
            continue
        if sealed is not None:
            recovered.append(sealed)
    return recovered


def _recover_one(path: Path) -> Path | None:
    try:
        descriptor = open_regular(path, os.O_RDWR)
    except FileNotFoundError:  # another process recovered it
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not path.exists():
            return None
        data = read_bytes(path)
        parts = split_segment(path, data)
        if parts and parts[-1].kind is Kind.TORN:
            os.ftruncate(descriptor, parts[-1].start)
            parts.pop()
        if not parts:
            path.unlink()
            return None
        sealed = path.with_suffix(_FINISHED_AS[path.suffix])
        path.rename(sealed)
    except BlockingIOError:  # its process is alive
        return None
    finally:
        os.close(descriptor)
    return sealed


def _find(folder: Path, *suffixes: str) -> list[Path]:
    """List the regular files with these suffixes, oldest first."""
    found = []
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        found = [
            folder / entry.name
            for entry in entries
            if entry.name.endswith(suffixes) and entry.is_file(follow_symlinks=False)
        ]
    return sorted(found)


def find_segments(folder: Path) -> list[Path]:
    """List the segments, finished or not, oldest first; not what was set aside."""
    return _find(folder, *_FINISHED_AS, FINISHED, _OLD_FINISHED)


def sealed_segments(folder: Path) -> list[Path]:
    """List the finished segments, oldest first."""
    return _find(folder, FINISHED, _OLD_FINISHED)


def live_segments(folder: Path) -> list[Path]:
    """List the segments that a living process is still writing."""
    return [path for path in _find(folder, *_FINISHED_AS) if _is_locked(path)]


def _is_locked(path: Path) -> bool:
    try:
        descriptor = open_regular(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def split_segment(path: Path, data: bytes) -> list[Part]:
    """Split the bytes of a segment into records and what is damaged."""
    is_old = path.suffix in (_OLD_LIVE, _OLD_FINISHED)
    if path.suffix == BAD:  # of either
        is_old = data.startswith(OLD_MAGIC)
    return list(split_old(data) if is_old else split(data, path.stem))


def read_payloads(path: Path) -> Iterator[bytes]:
    """Yield what each whole frame holds: a record, a label event or a challenger's answer."""
    data = read_bytes(path)
    for part in split_segment(path, data):
        if part.kind is Kind.RECORD:
            yield data[part.payload : part.end]


def read_segment(path: Path) -> Iterator[CaptureRecord]:
    """Yield every whole record of a segment, skipping what is damaged or not understood."""
    for payload in read_payloads(path):
        with contextlib.suppress(RecordError):
            yield decode(payload)


def spool_payloads(
    folder: Path, *, may_hold: Callable[[str], bool] = lambda _: True
) -> Iterator[bytes]:
    """Yield `read_payloads` of the spool, also of what is still being written.

    Args:
        folder: the spool.
        may_hold: whether a segment of this name is read.
    """
    for path in _find(folder, *_FINISHED_AS, FINISHED, _OLD_FINISHED, BAD):
        if not may_hold(path.name):
            continue
        with contextlib.suppress(OSError):  # shipped meanwhile
            yield from read_payloads(path)


def read_spool(
    folder: Path, *, may_hold: Callable[[str], bool] = lambda _: True
) -> Iterator[CaptureRecord]:
    """Yield every record of the spool; one may come twice. Arguments as of `spool_payloads`."""
    for payload in spool_payloads(folder, may_hold=may_hold):
        with contextlib.suppress(RecordError):
            yield decode(payload)


def erase_from_spool(folder: Path, read_ids: Collection[str]) -> int:
    """Remove reads from what is finished or was set aside; returns the number of records removed.

    A segment still being written is finished and shipped within seconds: the archive then drops
    the reads, because they are on its erased list.
    """
    num_removed = 0
    for path in _find(folder, FINISHED, _OLD_FINISHED, BAD):
        try:
            data = read_bytes(path)
        except FileNotFoundError:  # shipped meanwhile
            continue
        parts = split_segment(path, data)
        kept = [part for part in parts if not _is_of(part, data, read_ids)]
        if len(kept) == len(parts):
            continue
        num_removed += len(parts) - len(kept)
        if kept:
            replace_bytes(path, b"".join(data[part.start : part.end] for part in kept))
        else:
            path.unlink(missing_ok=True)
    return num_removed


def _is_of(part: Part, data: bytes, read_ids: Collection[str]) -> bool:
    if part.kind is not Kind.RECORD:
        return False
    payload = data[part.payload : part.end]
    try:
        if payload.startswith(challenger_answer.FIRST_BYTE):
            return challenger_answer.decode(payload)[0][0] in read_ids
        if payload.startswith(answer_record.FIRST_BYTE):
            return answer_record.decode(payload).read_id in read_ids
        is_label = payload.startswith(label_event.FIRST_BYTE)
        return (label_event.decode(payload) if is_label else decode(payload)).read_id in read_ids
    except ValueError:  # of either kind, and not understood
        return False
