"""Sends the reads that were made offline, in order and not too fast, when the service answers."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from digitline.exceptions import ClientClosed, CropRefused, NetworkFailed, Refused, Unanswered
from digitline.offline_spool import OfflineSpool, WaitingRead
from digitline.service_link import ServiceLink
from digitline.spool_file import lock_held_at_fork

LOOK_EVERY_S: Final = 2.0  # whether something waits
_CHECKPOINT_EVERY_S: Final = 1.0
_FIRST_PAUSE_S: Final = 1.0  # after a failure; then twice as long, and so on
_LONGEST_PAUSE_S: Final = 30.0
_KEY_S: Final = 150.0  # the service ignores an Idempotency-Key that is 180 s old
_KEY_AHEAD_S: Final = 45.0  # or 60 s ahead of its clock
_MOST_FAILURES: Final = 5  # of the service in a row, before others go first
_OURS: Final = "urn:digitline:problem:"

_log: Final = logging.getLogger("digitline")


class Drain:
    """The work of one thread. Of several processes with one spool, one drains.

    Args:
        spool: the reads.
        link: to the service.
        per_s: reads sent in a second at most.
        before_step: called before each step, also in a process that does not drain; its errors are
            handled as those of a read.
    """

    def __init__(
        self,
        spool: OfflineSpool,
        link: ServiceLink,
        *,
        per_s: float,
        before_step: Callable[[], None],
    ) -> None:
        if not per_s > 0:
            raise ValueError(f"the drain's rate is {per_s} reads a second; give one above 0")
        self._spool = spool
        self._link = link
        self._every_s = 1 / per_s
        self._before_step = before_step
        self._lock = _FileLock(spool.path.with_name(f"{spool.path.name}.drain"))
        self._stop = threading.Event()
        self._num_failures = 0  # in a row
        self._thread = threading.Thread(target=self._run, name="digitline drain", daemon=True)

    def start(self) -> None:
        """Begin; the thread keeps no program alive."""
        self._thread.start()

    def close(self, wait_s: float = 5.0) -> None:
        """Stop after the read that is being sent."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(wait_s)
        self._lock.release()

    def step(self) -> float:
        """Send one read, if one waits.

        Returns:
            Seconds until the next step.
        """
        waiting = None
        try:
            self._before_step()
            if not self._lock.acquire():
                return LOOK_EVERY_S
            waiting = self._spool.next_waiting()
            if waiting is None:
                self._num_failures = 0
                return LOOK_EVERY_S
            self._send(waiting)
        except NetworkFailed:
            return self._pause_s()
        except (Unanswered, Refused) as error:
            if isinstance(error, Refused):
                _log.warning("reads made offline wait, because the service refuses: %s", error)
            pause_s = self._pause_s()
            if waiting is not None and self._num_failures >= _MOST_FAILURES:
                self._spool.put_last(waiting.request_id)  # perhaps it is this one: others go first
                self._num_failures = 0
            return max(pause_s, getattr(error, "retry_after_s", None) or 0.0)
        self._num_failures = 0
        return self._every_s

    def _pause_s(self) -> float:
        """After one more failure."""
        self._num_failures += 1
        pause_s: float = _FIRST_PAUSE_S * 2 ** min(self._num_failures - 1, 10)
        return min(pause_s, _LONGEST_PAUSE_S)

    def _send(self, waiting: WaitingRead) -> None:
        key = waiting.key
        if not -_KEY_AHEAD_S < self._link.age_s(key) < _KEY_S:
            key = self._link.new_id()
        self._spool.note_sending(waiting.request_id, key)
        try:
            answer = self._link.read(waiting.crop, waiting.request_id, key)
        except CropRefused as error:
            if not error.problem.type.startswith(_OURS):
                raise  # something before the service said so
            self._spool.note_refusal(waiting.request_id, str(error))
        else:
            self._spool.note_answer(waiting.request_id, answer)

    def _run(self) -> None:
        pause_s = checkpoint_at = 0.0
        while not self._stop.wait(pause_s):
            try:
                pause_s = self.step()
                if time.monotonic() > checkpoint_at:
                    self._spool.checkpoint()
                    checkpoint_at = time.monotonic() + _CHECKPOINT_EVERY_S
            except sqlite3.Error as error:  # a full disk; what waits stays
                _log.warning("the spool of reads made offline cannot be used: %s", error)
                pause_s = _LONGEST_PAUSE_S
            except ClientClosed:  # closed while a read was being sent; it stays
                return


class _FileLock:
    """One process holds it, until it ends, however it ends. SQLite has the lock that does so."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = lock_held_at_fork()
        self._held: sqlite3.Connection | None = None

    def acquire(self) -> bool:
        """Whether it is held by this process now."""
        with self._lock:
            if self._held is not None:
                return True
            file = sqlite3.connect(
                self._path, timeout=0, isolation_level=None, check_same_thread=False
            )
            try:
                file.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError:
                file.close()
                return False
            self._held = file
            return True

    def release(self) -> None:
        """Let another process have it."""
        with self._lock:
            if self._held is not None:
                self._held.close()
                self._held = None
