"""Harm: crops of damaged mail that are accepted and wrong, as a share of all that were posted.

Pure. Knows nothing about files or promotion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MAX_SEVERITY = 3


@dataclass(frozen=True, slots=True)
class HarmResult:
    """What became of the crops with one kind of damage."""

    kind: str
    severity: int  # 1 to 3
    seen: bool  # training and the thresholds see this kind; the others are held out
    num: int  # crops posted
    num_accepted: int
    num_wrong: int  # accepted with another digit than the label, or where there is no digit

    @property
    def harm_frac(self) -> float:
        """Accepted and wrong, of all posted."""
        return self.num_wrong / self.num


def by_kind(results: Sequence[HarmResult], *, seen: bool) -> dict[str, float]:
    """Harm of each kind, over its severities."""
    kinds: dict[str, list[HarmResult]] = {}
    for row in results:
        if row.seen == seen:
            kinds.setdefault(row.kind, []).append(row)
    return {
        kind: sum(row.num_wrong for row in rows) / sum(row.num for row in rows)
        for kind, rows in kinds.items()
    }
