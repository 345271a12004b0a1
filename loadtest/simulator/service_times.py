"""Measured service times: how long a request keeps a core busy, and its latency without load."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from serving.config import Settings

MAX_WAIT_MS: Final = float(Settings.model_fields["max_queue_wait_ms"].default)
SERVICE_FILE: Final = Path(__file__).parents[1] / "service_times.json"
SERVICE_HELP: Final = "service times, as `fit` writes them"


class Times(Protocol):
    """What the simulator needs to know of one core: drawn from a distribution, or recorded."""

    @property
    def max_wait_ms(self) -> float:
        """A request whose wait would be longer is refused."""

    def draw_s(self, number: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Seconds that each of `number` requests keeps a core busy."""

    def draw_unloaded_ms(self, number: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Latency of each of `number` requests that do not wait."""


@dataclass(frozen=True, slots=True)
class ServiceTimes:
    """Measured times of one core of the service.

    Args:
        busy_ms: mean time that one request keeps the core busy; 1000 / busy_ms is its capacity.
        spread: standard deviation of that time divided by its mean.
        unloaded_ms: (101,) percentiles 0 to 100 of the latency without load; includes the request's
            own work and the network.
        max_wait_ms: a request whose wait would be longer is refused; default: the service's.
        kind: the distribution of the busy time.
        source: date, machine, commit and command of the measurement.
    """

    busy_ms: float
    spread: float
    unloaded_ms: tuple[float, ...]
    max_wait_ms: float = MAX_WAIT_MS
    kind: Literal["lognormal", "exponential"] = "lognormal"
    source: str = ""

    def draw_s(self, number: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Seconds that each of `number` requests keeps a core busy."""
        mean_s = self.busy_ms / 1e3
        if self.kind == "exponential":
            return rng.exponential(mean_s, number)
        if self.spread == 0:
            return np.full(number, mean_s)
        variance = np.log1p(self.spread**2)
        return rng.lognormal(np.log(mean_s) - variance / 2, np.sqrt(variance), number)

    def draw_unloaded_ms(self, number: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Latency of each of `number` requests that do not wait."""
        return np.interp(rng.random(number) * 100, np.arange(101), self.unloaded_ms)


def read(path: Path = SERVICE_FILE) -> ServiceTimes:
    """Read a file that `python -m loadtest fit` wrote.

    Raises:
        OSError: there is none.
        TypeError: it holds other fields.
    """
    content = json.loads(path.read_text())
    content["unloaded_ms"] = tuple(content["unloaded_ms"])
    return ServiceTimes(**content)
