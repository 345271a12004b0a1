"""Recent durations, and how long almost all of them took."""

from collections import deque
from typing import Final

NUM_KEPT: Final = 200
FEWEST: Final = 20  # with fewer, a percentile says nothing
SORT_EVERY: Final = 10  # sorting 200 numbers takes 5 us


class LatencyWindow:
    """The last 200 durations, in seconds."""

    def __init__(self) -> None:
        self._durations_s: deque[float] = deque(maxlen=NUM_KEPT)
        self._num_since_sort = 0
        self._p95_s: float | None = None

    def add(self, seconds: float) -> None:
        """One more duration. Of a request that was given up: the time it had lasted."""
        self._durations_s.append(seconds)
        self._num_since_sort += 1

    def p95_s(self) -> float | None:
        """19 of 20 durations are at most this; None while fewer than 20 are known."""
        if len(self._durations_s) < FEWEST:
            return None
        if self._p95_s is None or self._num_since_sort >= SORT_EVERY:
            in_order = sorted(self._durations_s)
            self._p95_s = in_order[int(0.95 * (len(in_order) - 1))]
            self._num_since_sort = 0
        return self._p95_s
