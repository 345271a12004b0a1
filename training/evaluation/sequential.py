"""A sequential McNemar test: after each keyed crop, whether it is decided which reader is better.

Only crops that the two read differently tell them apart; where one of the two is right, each is a
coin that falls for one of them. The test may be looked at after every key: the chance that it ever
decides between two equal readers is at most `ALPHA`. Pure.

Source:
    Ville, "Étude critique de la notion de collectif", 1939: a nonnegative martingale that starts at
    1 ever reaches 1 / alpha with a chance of at most alpha. The martingale is the likelihood ratio
    of a coin whose chance is uniform on [0, 1] against a fair one (Robbins, "Statistical methods
    related to the law of the iterated logarithm", 1970).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

from scipy.special import betaln

ALPHA = 0.05
MAX_KEYS = 10_000  # beyond it the readers are as good as equal


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the keyed crops decide."""

    num_champion: int  # crops that only the champion reads right
    num_candidate: int  # crops that only the candidate reads right

    @property
    def better(self) -> str | None:
        """`champion`, `candidate`, or None while it is open."""
        if not _decides(self.num_champion, self.num_candidate):
            return None
        return "candidate" if self.num_candidate > self.num_champion else "champion"

    @property
    def keys_to_go(self) -> int | None:
        """Further keys until it is decided, should they fall as before; None: no end in sight."""
        if self.better is not None:
            return 0
        num = self.num_champion + self.num_candidate
        share = (self.num_candidate + 1) / (num + 2)  # Laplace's: the first key settles nothing
        for more in range(1, MAX_KEYS):
            candidate = more * share
            if _decides(self.num_champion + more - candidate, self.num_candidate + candidate):
                return more
        return None

    def __str__(self) -> str:
        """One sentence for the person who keys."""
        if self.num_champion + self.num_candidate == 0:
            return "open: no keyed crop tells them apart yet"
        count = (
            f"{self.num_candidate} keyed crops for the candidate, {self.num_champion} for the"
            " champion"
        )
        if self.better is not None:
            return f"decided: the {self.better} reads better ({count})"
        left = self.keys_to_go
        if left is None:
            return f"open: the two are as good as equal ({count})"
        return f"open: about {left} keys to go ({count})"


def _decides(first: float, second: float) -> bool:
    """Whether the likelihood ratio of a coin that is not fair has reached 1 / ALPHA."""
    log_ratio = float(betaln(first + 1, second + 1)) + (first + second) * log(2)
    return log_ratio >= -log(ALPHA)
