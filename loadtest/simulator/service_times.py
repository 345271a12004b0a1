"""How long a request keeps a core busy, and how long it takes where nothing waits: measured."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from serving.config import Settings

MAX_WAIT_MS: Final = float(Settings.model_fields["max_queue_wait_ms"].default)
SERVICE_FILE: Final = Path(__file__).parents[1] / "service_times.json"


class Times(Protocol):
    """What the simulator asks of one core of the service: measured or drawn, it does not know."""

    @property
    def max_wait_ms(self) -> float:
        """A request that would wait longer is refused."""

    def draw_s(self, number: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Seconds of work for so many requests."""

    def draw_unloaded_ms(self, number: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Latencies of so many requests that wait for nothing."""


@dataclass(frozen=True, slots=True)
class ServiceTimes:
    """One core of the service.

    Args:
        busy_ms: mean time that one request keeps the core busy; 1000 / busy_ms is its capacity.
        spread: standard deviation of that time divided by its mean.
        unloaded_ms: (101,) percentiles 0 to 100 of the latency where nothing waits; it includes
            the request's own work and the network.
        max_wait_ms: a request that would wait longer is refused (the service's own limit).
        kind: the distribution of the busy time.
        source: what measured it.
    """

    busy_ms: float
    spread: float
    unloaded_ms: tuple[float, ...]
    max_wait_ms: float = MAX_WAIT_MS
    kind: Literal["lognormal", "exponential"] = "lognormal"
    source: str = ""

    def draw_s(self, number: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Seconds of work for so many requests."""
        mean_s = self.busy_ms / 1e3
        if self.kind == "exponential":
            return rng.exponential(mean_s, number)
        if self.spread == 0:
            return np.full(number, mean_s)
        variance = np.log1p(self.spread**2)
        return rng.lognormal(np.log(mean_s) - variance / 2, np.sqrt(variance), number)

    def draw_unloaded_ms(self, number: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Latencies of so many requests that wait for nothing."""
        return np.interp(rng.random(number) * 100, np.arange(101), self.unloaded_ms)


def read(path: Path = SERVICE_FILE) -> ServiceTimes:
    """Read a measured file, as `python -m loadtest fit` writes it.

    Raises:
        OSError: there is none.
        TypeError: it holds other fields.
    """
    content = json.loads(path.read_text())
    content["unloaded_ms"] = tuple(content["unloaded_ms"])
    return ServiceTimes(**content)
