"""What the project's own commands put into an archive, read with pyarrow alone."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import pyarrow.parquet as pq

from tests.acceptance.harness import ROOT, Service

TIMEOUT_S: Final = 120

Row = dict[str, Any]


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `python -m monitoring` with these arguments."""
    return subprocess.run(
        [sys.executable, "-m", "monitoring", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def ship(spool: Path, store: Path) -> subprocess.CompletedProcess[str]:
    """Ship what a spool holds."""
    return command("ship", "--spool", spool, "--store", store)


def compact(store: Path, day: str | None = None) -> subprocess.CompletedProcess[str]:
    """Compact a day, by default today."""
    return command("compact", "--day", day or str(datetime.now(UTC).date()), "--store", store)


def rows(store: Path) -> list[Row]:
    """Every row of every file of the records, with its `site`; nothing is deduplicated."""
    found: list[Row] = []
    for file in sorted(store.glob("records/**/*.parquet")):
        site = unquote(file.parent.name.removeprefix("site="))
        table = pq.read_table(file, partitioning=None)
        found += [{**row, "site": site} for row in table.to_pylist()]
    return found


def shipped_rows(spool: Path, store: Path) -> list[Row]:
    """Ship a spool and read the archive."""
    ship(spool, store)
    return rows(store)


class Sender:
    """Sends crops, each with an id of its own; remembers which ids were answered with 200."""

    def __init__(self, service: Service, png: bytes, prefix: str) -> None:
        self._service, self._png, self._prefix = service, png, prefix
        self.statuses: list[int] = []
        self.answered: list[str] = []

    def send(self, num: int = 1, headers: Mapping[str, str] | None = None) -> int:
        """Send some crops one after the other; how many were answered with 200."""
        before = len(self.answered)
        for _ in range(num):
            request_id = f"{self._prefix}-{len(self.statuses)}"
            sent = {"Content-Type": "image/png", "X-Request-Id": request_id, **(headers or {})}
            status = self._service.ask("POST", "/v1/digit", self._png, sent)[0]
            self.statuses.append(status)
            if status == 200:
                self.answered.append(request_id)
        return len(self.answered) - before

    def missing(self, found: Iterable[Row]) -> list[str]:
        """The ids that were answered with 200 and have no row."""
        stored = {row["request_id"] for row in found}
        return [one for one in self.answered if one not in stored]


class Readiness(threading.Thread):
    """Asks /readyz ten times a second until stopped."""

    def __init__(self, service: Service) -> None:
        super().__init__(daemon=True)
        self._service, self._end = service, threading.Event()
        self.seen: list[tuple[float, int]] = []  # time.monotonic() in s, status

    def run(self) -> None:
        """Ask until stopped."""
        while not self._end.wait(0.1):
            self.seen.append((time.monotonic(), self._service.status("/readyz")))

    def stop(self) -> bool:
        """Stop; whether readiness was red at any time."""
        self._end.set()
        self.join()
        return any(status != 200 for _, status in self.seen)


def files(spool: Path) -> list[Path]:
    """The files of a spool, the largest first."""
    return sorted(
        (path for path in spool.rglob("*") if path.is_file()), key=lambda path: -path.stat().st_size
    )
