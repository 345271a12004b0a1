"""How the time of one read is divided between the network and the fallback."""

from typing import Final

from digitline.latency_window import LatencyWindow

# For the event loop and the thread that waits, on a machine whose threads wake up 6 ms late in one
# of 1,000 times (python -m loadtest sdk). Of a short deadline, a tenth.
MARGIN_S: Final = 0.010
FIRST_RESERVE_S: Final = 0.025  # of the fallback, while its time is not known


class TimeLimits:
    """Gives each read its two deadlines.

    Args:
        deadline_ms: from the call to its end.
        has_fallback: part of the time is the fallback's.
    """

    def __init__(self, deadline_ms: float, *, has_fallback: bool) -> None:
        if not 1 <= deadline_ms <= 60_000:
            raise ValueError(f"deadline_ms is {deadline_ms}; give 1 to 60,000 milliseconds")
        self.deadline_s: Final = deadline_ms / 1e3
        self._margin_s = min(MARGIN_S, self.deadline_s / 10)
        self._fallback_s = LatencyWindow() if has_fallback else None

    def network_deadline(self, begun: float) -> float:
        """When the network's part of a read ends, that began at `begun`."""
        return begun + self.deadline_s - self._margin_s - self._reserve_s()

    def on_fallback(self, seconds: float) -> None:
        """The fallback has read a crop in this time."""
        if self._fallback_s is not None:
            self._fallback_s.add(seconds)

    def _reserve_s(self) -> float:
        """What the fallback needs in 19 of 20 reads and half as much more; at most half of all."""
        if self._fallback_s is None:
            return 0.0
        p95_s = self._fallback_s.p95_s()
        wanted_s = FIRST_RESERVE_S if p95_s is None else 1.5 * p95_s
        return min(wanted_s, self.deadline_s / 2)
