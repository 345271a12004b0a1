"""The gate's limits of harm: damaged crops that are accepted and wrong, of all posted.

Pure. The limits are data: who adds a kind of damage adds a line here only where it needs its own
limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from training.evaluation.harm import HarmResult, by_kind
from training.gate_verdict import Reason, at_most, missing

# Kinds that one crop shows badly: what a turned, mirrored or cut digit looks like is often another
# digit. The limits are a little above what champion 6 shows; the targets are in docs/training.md.
KIND_LIMITS = MappingProxyType(
    {"turned_90": 0.02, "mirrored": 0.03, "cut_half": 0.04, "two_digits": 0.03}
)
REPORTED_ONLY = ("turned_180",)  # a 6 is a 9: one crop cannot tell, a site can


@dataclass(frozen=True, slots=True)
class HarmLimits:
    """Largest harm, as shares of the crops posted."""

    seen_kind: float = 0.015  # of each kind that training sees
    kinds: Mapping[str, float] = field(default_factory=lambda: KIND_LIMITS)
    reported_only: tuple[str, ...] = REPORTED_ONLY
    unseen_mean: float = 0.045  # over the kinds that training has never seen
    unseen_kind: float = 0.09
    least_kinds: int = 15
    least_unseen_kinds: int = 5


def judge(results: Sequence[HarmResult], limits: HarmLimits) -> Iterator[Reason]:
    """Every kind against its limit, and the mean of the unseen ones."""
    seen, unseen = _judged(results, limits, seen=True), _judged(results, limits, seen=False)
    remedy = "run `evaluate` again; see training/evaluation/harm.py"
    if len(seen) + len(unseen) < limits.least_kinds:
        num = f"{len(seen) + len(unseen)} of {limits.least_kinds}"
        yield missing(f"harm: kinds of damage, {num} there", remedy)
    if len(unseen) < limits.least_unseen_kinds:
        num = f"{len(unseen)} of {limits.least_unseen_kinds}"
        yield missing(f"harm: kinds that training has not seen, {num} there", remedy)
    for kind, value in seen.items():
        yield at_most(f"harm of {kind}", value, limits.kinds.get(kind, limits.seen_kind))
    for kind, value in unseen.items():
        yield at_most(f"harm of {kind}, unseen", value, limits.unseen_kind)
    if unseen:
        mean = sum(unseen.values()) / len(unseen)
        yield at_most("harm, mean of unseen kinds", mean, limits.unseen_mean)


def means(results: Sequence[HarmResult]) -> dict[str, float]:
    """Mean over the kinds, "seen" and "unseen"; without a word for which there is no kind."""
    limits = HarmLimits()
    found = {}
    for word, seen in (("seen", True), ("unseen", False)):
        if kinds := _judged(results, limits, seen=seen):
            found[word] = sum(kinds.values()) / len(kinds)
    return found


def notes(results: Sequence[HarmResult], limits: HarmLimits) -> Iterator[str]:
    """The kinds that are only reported."""
    for seen in (True, False):
        for kind, value in by_kind(results, seen=seen).items():
            if kind in limits.reported_only:
                yield f"harm of {kind}: {value:.2%}, reported only"


def _judged(results: Sequence[HarmResult], limits: HarmLimits, *, seen: bool) -> dict[str, float]:
    kinds = by_kind(results, seen=seen)
    return {kind: value for kind, value in kinds.items() if kind not in limits.reported_only}
