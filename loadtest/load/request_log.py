"""The log of a load test: the result of every request, as columns and as a file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadtest.load.mix import Check

NO_ANSWER: Final = 0  # status of a request without an answer


@dataclass(frozen=True, slots=True)
class Log:
    """Every request of a load test, in the order of its end."""

    at_s: NDArray[np.float64]  # planned (open loop) or actual (Locust) time, from the start
    latency_ms: NDArray[np.float64]
    status: NDArray[np.int64]  # 0: no answer
    num_crops: NDArray[np.int64]  # crops that were compared with their labels
    num_right: NDArray[np.int64]
    is_wrong: NDArray[np.bool_]  # a digit was accepted that differs from its label

    def between(self, starts_s: float, ends_s: float) -> "Log":
        """The requests of one period of the test."""
        inside = (self.at_s >= starts_s) & (self.at_s < ends_s)
        return Log(*(getattr(self, name)[inside] for name in Log.__slots__))


@dataclass(slots=True)
class Recorder:
    """Appends one row per request, at little CPU cost for the load generator."""

    start_s: float  # on the clock of `begun_s`
    rows: list[tuple[float, float, int, int, int, bool]] = field(default_factory=list)

    def restart(self, start_s: float) -> None:
        """Drop all rows and set the start of the test."""
        self.start_s = start_s
        self.rows.clear()

    def add(
        self, begun_s: float, latency_ms: float, status: int, num_crops: int, result: Check | None
    ) -> None:
        """Add one request; `result` is None if no answer was compared."""
        compared = (
            (0, 0, False) if result is None else (num_crops, result.num_right, result.is_wrong)
        )
        self.rows.append((begun_s - self.start_s, latency_ms, status, *compared))

    def log(self) -> Log:
        """The rows so far."""
        columns = list(zip(*self.rows, strict=True)) or [()] * 6
        return Log(
            at_s=np.array(columns[0], dtype=np.float64),
            latency_ms=np.array(columns[1], dtype=np.float64),
            status=np.array(columns[2], dtype=np.int64),
            num_crops=np.array(columns[3], dtype=np.int64),
            num_right=np.array(columns[4], dtype=np.int64),
            is_wrong=np.array(columns[5], dtype=np.bool_),
        )


def save(log: Log, path: Path) -> None:
    """Write a log as one numpy archive."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez_compressed(file, **{name: getattr(log, name) for name in Log.__slots__})


def read(path: Path) -> Log:
    """Read a log.

    Raises:
        OSError: the file cannot be read.
    """
    with np.load(path, allow_pickle=False) as columns:
        return Log(**{name: columns[name] for name in Log.__slots__})
