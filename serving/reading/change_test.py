"""The sequential test: do a site's reads still look like its own history? Pure.

Three CUSUMs run over its reads, each over 0 or 1 less the site's usual share and an allowance, so
that ordinary changes of mail drive none of them up:

    no_digit  crops that are blank or not a digit. A fault raises their share far more than
              hard mail does.
    rejects   rejected crops, with an allowance that a hard sender's mailing stays below.
    framing   rejected crops, with a small allowance; it counts only while the crops themselves have
              changed as well (`fault_reason.has_changed`): mail is hard, or a scanner is faulty.

A site trips when one of them reaches its limit. Allowances and limits are from
monitoring/studies/site_breaker.py (docs/measurements/site-breaker-2026-11.md).

Source:
    Page, "Continuous inspection schemes", Biometrika 1954.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from serving.reading import site_signals as signal
from serving.reading.fault_reason import has_changed

STATISTICS: Final = ("no_digit", "rejects", "framing")
_OF: Final = [signal.NO_DIGIT, signal.REJECTED, signal.REJECTED]
ALLOWANCES: Final = np.array([0.06, 0.35, 0.1])  # above the site's usual share
LIMITS: Final = np.array([8.0, 25.0, 20.0])
LOOK_FROM: Final = 0.25  # of a limit: from here on every crop is measured, for the reason
SUSPECT: Final = 0.5  # of a limit: from here on reads are not learned from
MOST_USUAL: Final = np.array([0.2, 0.4, 0.4])  # a site with a larger share is never usual
_KEPT: Final = 1_000  # reads from which the reason is found


@dataclass(slots=True)
class ChangeTest:
    """The test of one site in one process."""

    sums: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(STATISTICS)))
    recent: NDArray[np.float64] = field(  # since all sums were last 0, at most _KEPT
        default_factory=lambda: np.empty((0, signal.NUM_SIGNALS))
    )

    def add(self, signals: NDArray[np.float64], usual: NDArray[np.float64]) -> str | None:
        """Test some more reads.

        Args:
            signals: (N, NUM_SIGNALS), N >= 1, in the order in which they were read.
            usual: the site's means; NaN where it has no history. Shares must be known.

        Returns:
            The statistic that reached its limit, or None.
        """
        steps = signals[:, _OF] - (np.minimum(usual[_OF], MOST_USUAL) + ALLOWANCES)
        paths = cusum(self.sums, steps)
        self.sums = paths[-1]
        calm = np.flatnonzero((paths == 0).all(axis=1))
        if len(calm):
            self.recent = signals[calm[-1] + 1 :]
        else:
            self.recent = np.concatenate([self.recent, signals])[-_KEPT:]
        for name, top, limit in zip(STATISTICS, paths.max(axis=0), LIMITS, strict=True):
            if top >= limit and (name != "framing" or has_changed(self.recent, usual)):
                return name
        return None

    @property
    def level(self) -> float:
        """The largest sum, as a share of its limit."""
        return float((self.sums / LIMITS).max())

    @property
    def is_suspect(self) -> bool:
        """Whether a sum is above half of its limit."""
        return self.level >= SUSPECT

    def reset(self) -> None:
        """Start anew."""
        self.sums = np.zeros(len(STATISTICS))
        self.recent = self.recent[:0]


def cusum(start: NDArray[np.float64], steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Page's sums S = max(0, S + step) after each step.

    Args:
        start: (K,) sums before.
        steps: (N, K).

    Returns:
        (N, K) float64.
    """
    walk = start + np.cumsum(steps, axis=0)
    path: NDArray[np.float64] = walk - np.minimum(np.minimum.accumulate(walk, axis=0), 0.0)
    return path
