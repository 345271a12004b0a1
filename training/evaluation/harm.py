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


@dataclass(frozen=True, slots=True)
class KindHarm:
    """One kind of damage over its severities, for card and report."""

    kind: str
    seen: bool
    num: int
    num_accepted: int
    num_wrong: int

    @property
    def harm_frac(self) -> float:
        """Accepted and wrong, of all posted."""
        return self.num_wrong / self.num

    @property
    def accepted_frac(self) -> float:
        """Accepted, of all posted."""
        return self.num_accepted / self.num


def table(results: Sequence[HarmResult]) -> list[KindHarm]:
    """The kinds in words, worst first."""
    kinds: dict[tuple[str, bool], list[HarmResult]] = {}
    for row in results:
        kinds.setdefault((row.kind, row.seen), []).append(row)
    found = [
        KindHarm(
            kind.replace("_", " "),
            seen,
            num=sum(row.num for row in rows),
            num_accepted=sum(row.num_accepted for row in rows),
            num_wrong=sum(row.num_wrong for row in rows),
        )
        for (kind, seen), rows in kinds.items()
    ]
    return sorted(found, key=lambda row: -row.harm_frac)


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
