"""Collects what becomes of every request, and keeps it as one file."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from loadtest.load.mix import Check
from loadtest.slo import Log


@dataclass(slots=True)
class Recorder:
    """Appends one row a request; cheap enough for a load generator."""

    start_s: float  # on the clock of `begun_s`
    rows: list[tuple[float, float, int, int, int, bool]] = field(default_factory=list)

    def restart(self, start_s: float) -> None:
        """Forget what was, and count from now."""
        self.start_s = start_s
        self.rows.clear()

    def add(
        self, begun_s: float, latency_ms: float, status: int, num_crops: int, result: Check | None
    ) -> None:
        """One request: answered and compared (a result), or not."""
        compared = (0, 0, False) if result is None else (num_crops, *_fields(result))
        self.rows.append((begun_s - self.start_s, latency_ms, status, *compared))

    def log(self) -> Log:
        """Everything so far."""
        columns = list(zip(*self.rows, strict=True)) or [()] * 6
        return Log(
            at_s=np.array(columns[0], dtype=np.float64),
            latency_ms=np.array(columns[1], dtype=np.float64),
            status=np.array(columns[2], dtype=np.int64),
            num_crops=np.array(columns[3], dtype=np.int64),
            num_right=np.array(columns[4], dtype=np.int64),
            is_wrong=np.array(columns[5], dtype=np.bool_),
        )


def _fields(result: Check) -> tuple[int, bool]:
    return result.num_right, result.is_wrong


def save(log: Log, path: Path) -> None:
    """Write a log as one numpy archive."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez_compressed(file, **{name: getattr(log, name) for name in Log.__slots__})


def read(path: Path) -> Log:
    """Read a log.

    Raises:
        OSError: there is none.
    """
    with np.load(path, allow_pickle=False) as columns:
        return Log(**{name: columns[name] for name in Log.__slots__})
