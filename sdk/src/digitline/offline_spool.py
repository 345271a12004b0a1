"""Reads made offline, in an SQLite file until the service has seen them. Knows no network.

A row waits with its crop, then holds both answers without the crop. A killed process loses no row:
it is committed (`spool_file.py`) before its reading is returned.
"""

import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from digitline.answers import Reading
from digitline.away import Away, SpoolTotals, away_of
from digitline.spool_file import TOTALS, SpoolFile

_ROW_BYTES: Final = 512  # counted for a row beside its crop


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
        self._file = SpoolFile(path)

    def close(self) -> None:
        """Close the file; what waits stays in it."""
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
        with self._file.transaction(0.0) as rows:
            kept = rows.execute(
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
        with self._file.transaction() as rows:
            self._drop()
            row = rows.execute(
                "SELECT request_id, crop, key FROM reads WHERE state = 'waiting' "
                "ORDER BY place LIMIT 1"
            ).fetchone()
        return None if row is None else WaitingRead(*row)

    def note_sending(self, request_id: str, key: str) -> None:
        """Keep the Idempotency-Key of a request before it is sent, so that a kill does not lose it.

        The service records a read once for each key.
        """
        with self._file.transaction() as rows:
            rows.execute(
                "UPDATE reads SET num_keys = num_keys + (key != :key OR num_keys = 0), key = :key "
                "WHERE request_id = :request_id",
                {"key": key, "request_id": request_id},
            )

    def put_last(self, request_id: str) -> None:
        """Let all others go before a read."""
        with self._file.transaction() as rows:
            rows.execute(
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
        self._file.checkpoint()

    def read_id_of(self, request_id: str) -> str | None:
        """The service's read id of a read that was made offline; None: not answered yet."""
        with self._file.held() as rows:
            row = rows.execute(
                "SELECT read_id FROM reads WHERE request_id = ?", (request_id,)
            ).fetchone()
        return None if row is None else row[0]

    def totals(self) -> SpoolTotals:
        """The counts."""
        with self._file.transaction() as rows:
            return _totals(rows)

    def away(self) -> Away:
        """What the service said of the reads that it has seen since `dismiss`."""
        with self._file.snapshot() as file:  # half a million rows take seconds
            rows = file.execute(
                "SELECT * FROM reads WHERE state != 'waiting' ORDER BY place"
            ).fetchall()
            totals = _totals(file)
        return away_of(rows, totals)

    def dismiss(self, away: Away) -> None:
        """Remove the rows that a report was made of; later ones stay for the next report."""
        with self._file.transaction() as rows:
            rows.execute(
                "DELETE FROM reads WHERE state != 'waiting' AND place <= ?", (away.last_place,)
            )

    def note(self, name: str, value: Any) -> None:
        """Keep a value that must outlive the process, as the service's rules."""
        with self._file.transaction() as rows:
            rows.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, json.dumps(value)))

    def noted(self, name: str) -> Any:
        """A value that was kept by `note`; None: there is none."""
        with self._file.held() as rows:
            row = rows.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    def _settle(self, request_id: str, state: str, values: dict[str, Any]) -> None:
        names = ", ".join(f"{name} = :{name}" for name in values)
        with self._file.transaction() as rows:
            changed = rows.execute(
                f"UPDATE reads SET state = :state, crop = NULL, num_bytes = :left, {names} "  # noqa: S608 - names of columns, from this module
                "WHERE request_id = :request_id AND state = 'waiting'",
                {**values, "state": state, "left": _ROW_BYTES, "request_id": request_id},
            )
            self._count(state, changed.rowcount)

    def _drop(self) -> None:
        """Drop the oldest until the rest is young enough and fits."""
        while True:
            oldest = self._file.rows.execute(
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
            self._file.rows.execute("DELETE FROM reads WHERE place = ?", (oldest["place"],))
            self._count(why, int(oldest["state"] == "waiting"))

    def _num_bytes(self) -> int:
        row = self._file.rows.execute(
            "SELECT value FROM totals WHERE name = 'num_bytes'"
        ).fetchone()
        return int(row[0])

    def _count(self, name: str, number: int) -> None:
        if number:
            self._file.rows.execute(
                "UPDATE totals SET value = value + ? WHERE name = ?", (number, name)
            )

    def _now(self) -> float:
        return self._started + self._steady()


def _totals(file: sqlite3.Connection) -> SpoolTotals:
    values = dict(file.execute("SELECT name, value FROM totals").fetchall())
    (waiting,) = file.execute("SELECT count(*) FROM reads WHERE state = 'waiting'").fetchone()
    return SpoolTotals(waiting=waiting, **{name: values[name] for name in TOTALS})
