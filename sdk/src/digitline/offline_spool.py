"""Reads made offline, in an SQLite file until the service has seen them. Knows no network.

A row waits with its crop, then holds both answers without the crop. A killed process loses no row:
the file is in WAL mode, and a row is committed before its reading is returned. (After a loss of
power the last moments may be missing; the file stays whole.)
"""

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from digitline.answers import Reading
from digitline.away import Away, SpoolTotals, away_of
from digitline.exceptions import OfflineUnavailable

_ROW_BYTES: Final = 512  # counted for a row beside its crop
_BUSY_MS: Final = 20  # wait for another process that writes; a letter waits for `add`
_PATIENCE_S: Final = 5.0  # of what no letter waits for
_VERSION: Final = 1  # of the file; PRAGMA user_version
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS reads (
  place INTEGER PRIMARY KEY AUTOINCREMENT,
  request_id TEXT NOT NULL UNIQUE,
  made REAL NOT NULL,
  state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'answered', 'refused')),
  crop BLOB,
  num_bytes INTEGER NOT NULL,
  key TEXT NOT NULL, num_keys INTEGER NOT NULL,
  local_digit INTEGER, local_confidence REAL NOT NULL, local_accepted INTEGER NOT NULL,
  local_version TEXT NOT NULL,
  read_id TEXT, digit INTEGER, confidence REAL, accepted INTEGER, version TEXT, refusal TEXT
);
CREATE INDEX IF NOT EXISTS by_state ON reads (state, place);
CREATE TABLE IF NOT EXISTS totals (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TRIGGER IF NOT EXISTS put AFTER INSERT ON reads BEGIN
  UPDATE totals SET value = value + new.num_bytes WHERE name = 'num_bytes';
END;
CREATE TRIGGER IF NOT EXISTS changed AFTER UPDATE OF num_bytes ON reads BEGIN
  UPDATE totals SET value = value + new.num_bytes - old.num_bytes WHERE name = 'num_bytes';
END;
CREATE TRIGGER IF NOT EXISTS removed AFTER DELETE ON reads BEGIN
  UPDATE totals SET value = value - old.num_bytes WHERE name = 'num_bytes';
END;
"""
_TOTALS: Final = (
    "num_bytes",
    "spooled",
    "answered",
    "refused",
    "dropped_by_size",
    "dropped_by_age",
)


@dataclass(frozen=True, slots=True)
class WaitingRead:
    """A read that the service has not seen yet, or whose answer was not kept."""

    request_id: str
    crop: bytes
    key: str  # the Idempotency-Key that it was sent with last


class OfflineSpool:
    """One file; several threads and processes may use it.

    Args:
        path: the file; beside it are those of SQLite (-wal, -shm) and the drain's lock.
        max_bytes: of crops and rows; beyond it the oldest rows are dropped, and counted.
        max_age_s: older rows are dropped, and counted if they waited.
        clock: seconds since 1970. It is followed by the steady clock, so that a jump of the
            machine's time drops nothing.
        steady: seconds that only grow.

    Raises:
        OfflineUnavailable: the file cannot be made or used, or a later version made it.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = 256_000_000,
        max_age_s: float = 7 * 86_400.0,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._started = clock() - steady()
        self._steady = steady
        self._lock = lock_held_at_fork()
        self._checkpoint_lock = lock_held_at_fork()
        try:
            path.touch(mode=0o600)  # crops are personal data; SQLite's other files get this mode
            self._file = self._connect()
            self._checkpoints = self._connect()
            self._make_tables()
        except (sqlite3.Error, OSError) as error:
            raise OfflineUnavailable(
                f"the spool {path} cannot be used ({error}); give a file in a folder that this "
                "program may write, or move the file away, and a new one is made"
            ) from error

    def _connect(self) -> sqlite3.Connection:
        file = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        file.row_factory = sqlite3.Row
        file.execute("PRAGMA journal_mode=WAL")
        file.execute("PRAGMA synchronous=NORMAL")
        # A checkpoint waits for the disk; `checkpoint` does it, so that no read waits.
        file.execute("PRAGMA wal_autocheckpoint=0")
        file.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
        return file

    def _make_tables(self) -> None:
        with self._transaction():
            (version,) = self._file.execute("PRAGMA user_version").fetchone()
            if version > _VERSION:
                raise OfflineUnavailable(
                    f"the spool {self.path} has version {version}, this digitline knows "
                    f"{_VERSION}; install the digitline that made it, or give another file"
                )
            for statement in _statements(_SCHEMA):
                self._file.execute(statement)
            self._file.executemany(
                "INSERT OR IGNORE INTO totals VALUES (?, 0)", [(name,) for name in _TOTALS]
            )
            self._file.execute(f"PRAGMA user_version = {_VERSION}")

    def close(self) -> None:
        """Close the file; what waits stays in it."""
        with self._lock, self._checkpoint_lock:
            self._checkpoints.close()
            self._file.close()

    def add(self, crop: bytes, reading: Reading, sent_key: str | None = None) -> bool:
        """Keep a local read until the service has seen it; drop the oldest if there are too many.

        Args:
            crop: the file.
            reading: what was read of it here.
            sent_key: the Idempotency-Key of a request without an answer that it was alone in; "":
                that request has another body, as a bundle has; None: it was not sent.

        Returns:
            Whether it is kept; false: there is one with its request id.

        Raises:
            sqlite3.Error: the disk is full, the file cannot be written, or another process has
                locked it for 20 ms.
        """
        with self._transaction(0.0):
            kept = self._file.execute(
                "INSERT OR IGNORE INTO reads (request_id, key, num_keys, made, crop, "
                "num_bytes, local_digit, local_confidence, local_accepted, local_version) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    reading.request_id,
                    reading.request_id if sent_key is None else sent_key,
                    int(sent_key is not None),
                    self._now(),
                    crop,
                    len(crop) + _ROW_BYTES,
                    reading.digit,
                    reading.confidence,
                    reading.accepted,
                    reading.model_version,
                ),
            )
            self._count("spooled", kept.rowcount)
            self._drop()
        return kept.rowcount == 1

    def next_waiting(self) -> WaitingRead | None:
        """The oldest read that waits; drops those that are too old first."""
        with self._transaction():
            self._drop()
            row = self._file.execute(
                "SELECT request_id, crop, key FROM reads WHERE state = 'waiting' "
                "ORDER BY place LIMIT 1"
            ).fetchone()
        return None if row is None else WaitingRead(*row)

    def note_sending(self, request_id: str, key: str) -> None:
        """Keep the Idempotency-Key of a request before it is sent, so that a kill does not lose it.

        The service records a read once for each key.
        """
        with self._transaction():
            self._file.execute(
                "UPDATE reads SET num_keys = num_keys + (key != :key OR num_keys = 0), key = :key "
                "WHERE request_id = :request_id",
                {"key": key, "request_id": request_id},
            )

    def put_last(self, request_id: str) -> None:
        """Let all others go before a read."""
        with self._transaction():
            self._file.execute(
                "UPDATE reads SET place = (SELECT max(place) + 1 FROM reads) WHERE request_id = ?",
                (request_id,),
            )

    def note_answer(self, request_id: str, answer: Reading) -> None:
        """Keep what the service answered, and remove the crop."""
        self._settle(
            request_id,
            "answered",
            {
                "read_id": answer.read_id,
                "digit": answer.digit,
                "confidence": answer.confidence,
                "accepted": answer.accepted,
                "version": answer.model_version,
            },
        )

    def note_refusal(self, request_id: str, refusal: str) -> None:
        """Keep why the service refused the read for good, and remove the crop."""
        self._settle(request_id, "refused", {"refusal": refusal})

    def checkpoint(self) -> None:
        """Move what was written from the log into the file, beside what others do; call it often.

        Raises:
            sqlite3.Error: the disk is full, or the file cannot be written.
        """
        with self._checkpoint_lock:
            self._checkpoints.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def read_id_of(self, request_id: str) -> str | None:
        """The service's read id of a read that was made offline; None: not answered yet."""
        with self._lock:
            row = self._file.execute(
                "SELECT read_id FROM reads WHERE request_id = ?", (request_id,)
            ).fetchone()
        return None if row is None else row[0]

    def totals(self) -> SpoolTotals:
        """The counts."""
        with self._transaction():
            return _totals(self._file)

    def away(self) -> Away:
        """What the service said of the reads that it has seen since `dismiss`."""
        with self._checkpoint_lock:  # and not _lock: half a million rows take seconds
            self._checkpoints.execute("BEGIN")
            try:
                rows = self._checkpoints.execute(
                    "SELECT * FROM reads WHERE state != 'waiting' ORDER BY place"
                ).fetchall()
                totals = _totals(self._checkpoints)
            finally:
                self._checkpoints.execute("COMMIT")
        return away_of(rows, totals)

    def dismiss(self, away: Away) -> None:
        """Remove the rows that a report was made of; later ones stay for the next report."""
        with self._transaction():
            self._file.execute(
                "DELETE FROM reads WHERE state != 'waiting' AND place <= ?", (away.last_place,)
            )

    def note(self, name: str, value: Any) -> None:
        """Keep a value that must outlive the process, as the service's rules."""
        with self._transaction():
            self._file.execute(
                "INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, json.dumps(value))
            )

    def noted(self, name: str) -> Any:
        """A value that was kept by `note`; None: there is none."""
        with self._lock:
            row = self._file.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    def _settle(self, request_id: str, state: str, values: dict[str, Any]) -> None:
        names = ", ".join(f"{name} = :{name}" for name in values)
        with self._transaction():
            changed = self._file.execute(
                f"UPDATE reads SET state = :state, crop = NULL, num_bytes = :left, {names} "  # noqa: S608 - names of columns, from this module
                "WHERE request_id = :request_id AND state = 'waiting'",
                {**values, "state": state, "left": _ROW_BYTES, "request_id": request_id},
            )
            self._count(state, changed.rowcount)

    def _drop(self) -> None:
        """Drop the oldest until the rest is young enough and fits."""
        while True:
            oldest = self._file.execute(
                "SELECT place, made, state FROM reads ORDER BY place LIMIT 1"
            ).fetchone()
            if oldest is None:
                return
            if oldest["made"] < self._now() - self._max_age_s:
                why = "dropped_by_age"
            elif self._num_bytes() > self._max_bytes:
                why = "dropped_by_size"
            else:
                return
            self._file.execute("DELETE FROM reads WHERE place = ?", (oldest["place"],))
            self._count(why, int(oldest["state"] == "waiting"))

    def _num_bytes(self) -> int:
        row = self._file.execute("SELECT value FROM totals WHERE name = 'num_bytes'").fetchone()
        return int(row[0])

    def _count(self, name: str, number: int) -> None:
        if number:
            self._file.execute("UPDATE totals SET value = value + ? WHERE name = ?", (number, name))

    def _now(self) -> float:
        return self._started + self._steady()

    @contextmanager
    def _transaction(self, patience_s: float = _PATIENCE_S) -> Iterator[None]:
        self._begin(patience_s)
        try:
            yield
            self._file.execute("COMMIT")
        except BaseException:
            if self._file.in_transaction:  # a full disk has ended it
                self._file.execute("ROLLBACK")
            raise
        finally:
            self._lock.release()

    def _begin(self, patience_s: float) -> None:
        """Take the lock and begin; between the tries nobody holds it, so that `add` never waits."""
        give_up = time.monotonic() + patience_s
        while True:
            self._lock.acquire()
            try:
                self._file.execute("BEGIN IMMEDIATE")
            except BaseException as error:
                self._lock.release()
                is_locked = isinstance(error, sqlite3.OperationalError)
                if not is_locked or time.monotonic() >= give_up:
                    raise
            else:
                return
            time.sleep(_BUSY_MS / 1e3)


def lock_held_at_fork() -> threading.Lock:
    """A lock for work in SQLite. A fork waits for it, or the child would find SQLite locked."""
    lock = threading.Lock()
    os.register_at_fork(
        before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
    )
    return lock


def _totals(file: sqlite3.Connection) -> SpoolTotals:
    values = dict(file.execute("SELECT name, value FROM totals").fetchall())
    (waiting,) = file.execute("SELECT count(*) FROM reads WHERE state = 'waiting'").fetchone()
    return SpoolTotals(waiting=waiting, **{name: values[name] for name in _TOTALS})


def _statements(schema: str) -> Iterator[str]:
    statement = ""
    for line in schema.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
