"""When requests arrive: Poisson around a rate, trucks, a facility's day, or a recorded trace."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contract.arrivals import DAY, IDLE_FRAC, TRUCK_EVERY_S, TRUCK_S

DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class Traffic:
    """The arrival times of requests."""

    name: str
    arrivals_s: NDArray[np.float64]  # (N,) ascending, from the start
    duration_s: float

    def hourly_max_rps(self) -> NDArray[np.float64]:
        """The rate of the busiest minute in each hour, as a forecast would give it."""
        minutes = np.histogram(self.arrivals_s, np.arange(0, self.duration_s + 60, 60))[0] / 60
        hours = -(-len(minutes) // 60)
        padded = np.zeros(hours * 60)
        padded[: len(minutes)] = minutes
        best: NDArray[np.float64] = padded.reshape(hours, 60).max(axis=1)
        return best


def poisson(name: str, rates_rps: NDArray[np.float64], rng: np.random.Generator) -> Traffic:
    """Poisson arrivals; one rate for each second."""
    counts = rng.poisson(rates_rps)
    seconds = np.repeat(np.arange(len(rates_rps)), counts)
    arrivals = np.sort(seconds + rng.random(len(seconds)))
    return Traffic(name, arrivals, float(len(rates_rps)))


def constant_rates(rps: float, duration_s: float) -> NDArray[np.float64]:
    """One rate for the whole time."""
    return np.full(int(duration_s), float(rps))


def truck_rates(peak_rps: float, duration_s: float) -> NDArray[np.float64]:
    """The peak for the last 2 of every 15 minutes, while trucks unload; 1/30 of it otherwise."""
    seconds = np.arange(int(duration_s))
    unloading = seconds % TRUCK_EVERY_S >= TRUCK_EVERY_S - TRUCK_S
    return np.where(unloading, float(peak_rps), peak_rps * IDLE_FRAC)


def day_rates(peak_rps: float, duration_s: float) -> NDArray[np.float64]:
    """The hours of a facility's day from midnight."""
    hours = (np.arange(int(duration_s)) // 3600) % 24
    return peak_rps * np.array(DAY)[hours]


def recorded(path: Path) -> Traffic:
    """Read a trace: a CSV with a column `at_s` or `time`, or the service's log (JSON lines).

    Times are seconds or ISO 8601; they count from the first request.

    Raises:
        ValueError: the file holds no request with a time.
    """
    times = np.sort(np.array(list(_times(path)), dtype=np.float64))
    if not times.size:
        raise ValueError(
            f"{path.name} holds no request with a time: expected a CSV column `at_s` or `time`, "
            "or JSON lines with `timestamp` and `status`"
        )
    times -= times[0]
    return Traffic(path.name, times, float(np.ceil(times[-1] + 1)))


def _times(path: Path) -> Iterator[float]:
    with path.open(newline="") as file:
        if path.suffix == ".csv":
            for row in csv.DictReader(file):
                yield _seconds(row.get("at_s") or row["time"])
            return
        for line in file:
            entry = json.loads(line) if line.startswith("{") else {}
            if "timestamp" in entry and ("status" in entry or "endpoint" in entry):
                yield _seconds(entry["timestamp"])


def _seconds(text: str | float) -> float:
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(str(text)).timestamp()
