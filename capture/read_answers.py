"""The shipper's side of `capture.read_check`: tells the service which crops were captured.

Runs on a thread beside shipping. Only segments and files of the reads' time are opened, so a
question costs as much after an outage of the archive as before. The spool is searched before the
archive: a record is in the archive before it leaves the spool, so none is missed between the two.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from capture.look_up import begun_us, find_crops, may_hold
from capture.read_check import KNOWN, NO_CROP, NO_READ, SOCKET, UNCHECKED, read_line
from capture.segments import read_spool
from capture.store import Store

log = logging.getLogger(__name__)

_LINE_S: Final = 2.0  # for a question to arrive, and for an answer to be taken
_LOOK_S: Final = 0.5  # between two looks whether to stop
_NUM_WAITING: Final = 16

Key = tuple[str, int]


@contextmanager
def answering(spool: Path, store: Store) -> Iterator[None]:
    """Answer the service's questions while the block runs; where that is impossible, log why."""
    try:
        listener = _listen(spool)
    except OSError as error:
        log.warning("the service cannot ask which reads are known: %s", error)
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(
        target=_serve, args=(listener, spool, store, stop), name="reads", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        listener.close()
        thread.join(timeout=2 * _LOOK_S)


def _listen(spool: Path) -> socket.socket:
    """Take the socket's name over, also from a shipper that was killed."""
    listener = socket.socket(socket.AF_UNIX)
    folder = os.open(spool, os.O_RDONLY | os.O_DIRECTORY)
    try:
        (spool / SOCKET).unlink(missing_ok=True)
        listener.bind(f"/proc/self/fd/{folder}/{SOCKET}")
        (spool / SOCKET).chmod(0o600)
        listener.listen(_NUM_WAITING)
        listener.settimeout(_LOOK_S)
    except OSError:
        listener.close()
        raise
    finally:
        os.close(folder)
    return listener


def _serve(listener: socket.socket, spool: Path, store: Store, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        except OSError:  # closed
            return
        with connection:
            try:
                asked = json.loads(read_line(connection, time.monotonic() + _LINE_S))
                keys = [(str(read_id), int(index)) for read_id, index in asked]
                words = _words(spool, store, keys)
                connection.settimeout(_LINE_S)
                connection.sendall(json.dumps(words).encode() + b"\n")
            except (OSError, ValueError, TypeError) as error:
                log.warning("a question of the service is not answered: %s", error)


def _words(spool: Path, store: Store, keys: Sequence[Key]) -> list[str]:
    """What is known of each crop."""
    crops: dict[str, set[int]] = defaultdict(set)
    wanted = {read_id for read_id, _ in keys}
    begun = sorted({begun_us(read_id) for read_id in wanted})
    for record in read_spool(spool, may_hold=partial(may_hold, begun=begun)):
        if record.read_id in wanted:
            crops[record.read_id].add(record.index)
    missing = sorted({read_id for read_id, index in keys if index not in crops[read_id]})
    is_searched = True
    try:
        for read_id, index in find_crops(store, missing) if missing else ():
            crops[read_id].add(index)
    except OSError as error:
        log.warning("the archive cannot be searched for %d reads: %s", len(missing), error)
        is_searched = False
    return [_word(index, crops[read_id], is_searched=is_searched) for read_id, index in keys]


def _word(index: int, found: set[int], *, is_searched: bool) -> str:
    if index in found:
        return KNOWN
    if not is_searched:
        return UNCHECKED
    return NO_CROP if found else NO_READ
