"""Sends the reads that were made offline, in order and not too fast, once the service answers again."""

import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from digitline.exceptions import KeyRefused, NetworkFailed, Refused, Unanswered
from digitline.offline_spool import OfflineSpool, WaitingRead
from digitline.service_link import ServiceLink

LOOK_EVERY_S: Final = 2.0  # whether something waits
_FIRST_PAUSE_S: Final = 1.0  # after a failure; then twice as long, and so on
_LONGEST_PAUSE_S: Final = 60.0
_MOST_FAILURES: Final = 5  # answers that are none, for one read, before others go first

_log: Final = logging.getLogger("digitline")


class Drain:
    """The work of one thread. Of several processes with one spool, one drains.

    Args:
        spool: the reads.
        link: to the service.
        per_s: reads sent in a second at most.
        on_reachable: called before a read is sent after a pause, and now and then.
    """

    def __init__(
        self,
        spool: OfflineSpool,
        link: ServiceLink,
        *,
        per_s: float,
        on_reachable: Callable[[], None],
    ) -> None:
        if not per_s > 0:
            raise ValueError(f"the drain's rate is {per_s} reads a second; give one above 0")
        self._spool = spool
        self._link = link
        self._every_s = 1 / per_s
        self._on_reachable = on_reachable
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
        if not self._lock.acquire():
            return LOOK_EVERY_S
        waiting = self._spool.next_waiting()
        try:
            self._on_reachable()
            if waiting is None:
                self._num_failures = 0
                return LOOK_EVERY_S
            self._send(waiting)
        except KeyRefused as error:
            _log.warning("%s; reads made offline wait for another key", error)
            return _LONGEST_PAUSE_S
        except Unanswered as error:
            self._num_failures += 1
            # The service is there and cannot answer this one: the others go first.
            if (
                waiting
                and self._num_failures >= _MOST_FAILURES
                and not isinstance(error, NetworkFailed)
            ):
                self._spool.put_last(waiting.request_id)
                self._num_failures = 0
            pause_s = min(_FIRST_PAUSE_S * 2**self._num_failures, _LONGEST_PAUSE_S)
            return max(pause_s, error.retry_after_s or 0.0)
        self._num_failures = 0
        return self._every_s

    def _send(self, waiting: WaitingRead) -> None:
        self._spool.note_sending(waiting.request_id)
        try:
            answer = self._link.read(waiting.crop, waiting.request_id)
        except KeyRefused:
            raise
        except Refused as error:
            self._spool.note_refusal(waiting.request_id, str(error))
        else:
            self._spool.note_answer(waiting.request_id, answer)

    def _run(self) -> None:
        pause_s = 0.0
        while not self._stop.wait(pause_s):
            try:
                pause_s = self.step()
            except sqlite3.Error as error:  # a full disk; what waits stays
                _log.warning("the spool of reads made offline cannot be used: %s", error)
                pause_s = _LONGEST_PAUSE_S


class _FileLock:
    """One process holds it, until it ends, however it ends. SQLite has the lock that does so."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: sqlite3.Connection | None = None

    def acquire(self) -> bool:
        """Whether it is held by this process now."""
        if self._held is not None:
            return True
        file = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            file.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            file.close()
            return False
        self._held = file
        return True

    def release(self) -> None:
        """Let another process have it."""
        if self._held is not None:
            self._held.close()
            self._held = None
