"""The SQLite file of reads made offline: its tables, transactions and connections.

Several threads and processes may use it. The file is in WAL mode, so a committed row outlives a
killed process. (After a loss of power the last moments may be missing; the file stays whole.)
"""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from digitline.exceptions import OfflineUnavailable

TOTALS: Final = (
    "num_bytes",
    "spooled",
    "answered",
    "refused",
    "dropped_by_size",
    "dropped_by_age",
)
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


class SpoolFile:
    """One file with two connections: `rows` for short work, and another for what takes seconds.

    Args:
        path: the file; beside it are those of SQLite (-wal, -shm).

    Raises:
        OfflineUnavailable: the file cannot be made or used, or a later version made it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = lock_held_at_fork()
        self._slow_lock = lock_held_at_fork()
        try:
            path.touch(mode=0o600)  # crops are personal data; SQLite's other files get this mode
            self.rows = self._connect()
            self._slow = self._connect()
            self._make_tables()
        except (sqlite3.Error, OSError) as error:
            raise OfflineUnavailable(
                f"the spool {path} cannot be used ({error}); give a file in a folder that this "
                "program may write, or move the file away, and a new one is made"
            ) from error

    def _connect(self) -> sqlite3.Connection:
        file = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        file.row_factory = sqlite3.Row
        file.execute("PRAGMA journal_mode=WAL")
        file.execute("PRAGMA synchronous=NORMAL")
        # A checkpoint waits for the disk; `checkpoint` does it, so that no read waits.
        file.execute("PRAGMA wal_autocheckpoint=0")
        file.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
        return file

    def _make_tables(self) -> None:
        with self.transaction():
            (version,) = self.rows.execute("PRAGMA user_version").fetchone()
            if version > _VERSION:
                raise OfflineUnavailable(
                    f"the spool {self._path} has version {version}, this digitline knows "
                    f"{_VERSION}; install the digitline that made it, or give another file"
                )
            for statement in _statements(_SCHEMA):
                self.rows.execute(statement)
            self.rows.executemany(
                "INSERT OR IGNORE INTO totals VALUES (?, 0)", [(name,) for name in TOTALS]
            )
            self.rows.execute(f"PRAGMA user_version = {_VERSION}")

    def close(self) -> None:
        """Close the file; what waits stays in it."""
        with self._lock, self._slow_lock:
            self._slow.close()
            self.rows.close()

    @contextmanager
    def held(self) -> Iterator[sqlite3.Connection]:
        """`rows`, while no other thread uses it."""
        with self._lock:
            yield self.rows

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """The other connection, in a transaction; `rows` is not blocked."""
        with self._slow_lock:
            self._slow.execute("BEGIN")
            try:
                yield self._slow
            finally:
                self._slow.execute("COMMIT")

    def checkpoint(self) -> None:
        """Move what was written from the log into the file, beside what others do.

        Raises:
            sqlite3.Error: the disk is full, or the file cannot be written.
        """
        with self._slow_lock:
            self._slow.execute("PRAGMA wal_checkpoint(PASSIVE)")

    @contextmanager
    def transaction(self, patience_s: float = _PATIENCE_S) -> Iterator[sqlite3.Connection]:
        """`rows` in a transaction, which an exception rolls back.

        Args:
            patience_s: how long to try where another process writes.
        """
        self._begin(patience_s)
        try:
            yield self.rows
            self.rows.execute("COMMIT")
        except BaseException:
            if self.rows.in_transaction:  # a full disk has ended it
                self.rows.execute("ROLLBACK")
            raise
        finally:
            self._lock.release()

    def _begin(self, patience_s: float) -> None:
        """Take the lock and begin; between the tries nobody holds it, so that `add` never waits."""
        give_up = time.monotonic() + patience_s
        while True:
            self._lock.acquire()
            try:
                self.rows.execute("BEGIN IMMEDIATE")
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


def _statements(schema: str) -> Iterator[str]:
    statement = ""
    for line in schema.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
