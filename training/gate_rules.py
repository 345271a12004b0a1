"""Compare a candidate with fixed floors and with the champion: a Verdict with every reason.

Pure: numbers in, verdict out. Knows nothing about where the numbers come from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from training.evaluation.judge import Evaluation, SetResult

MAX_DROP = 0.001  # accuracy loss against the champion on a set of MAX_DROP_CROPS crops
MAX_DROP_CROPS = 10_000
SIGNIFICANT = 0.05  # McNemar's p below which a set counts as worse than the champion


@dataclass(frozen=True, slots=True)
class Floors:
    """Limits that every candidate must meet, with or without a champion."""

    mnist_accuracy: float = 0.9930
    rendered_accuracy: float = 0.93
    quantisation_drop: float = 0.001
    quantisation_flips_frac: float = 0.002
    latency_ratio: float = 0.9  # int8 / fp32 at batch 32; above it int8 is not worth its error
    size_bytes: int = 200_000


@dataclass(frozen=True, slots=True)
class Reason:
    """One comparison."""

    name: str
    value: float
    limit: float
    passed: bool

    def __str__(self) -> str:
        word = "ok  " if self.passed else "FAIL"
        return f"{word} {self.name}: {self.value:.6g} (limit {self.limit:.6g})"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the candidate may be promoted, and why."""

    reasons: tuple[Reason, ...]

    @property
    def passed(self) -> bool:
        """True when every reason is met."""
        return all(reason.passed for reason in self.reasons)

    @property
    def failures(self) -> tuple[Reason, ...]:
        """The reasons that are not met."""
        return tuple(reason for reason in self.reasons if not reason.passed)


def judge(candidate: Evaluation, floors: Floors) -> Verdict:
    """Compare a candidate with the floors and, on each set, with the champion.

    The evaluation holds the champion's numbers too: both models read the same crops.
    """
    quantisation, latency = candidate.quantisation, candidate.latency
    reasons = [
        _at_least("MNIST test accuracy", candidate.sets["mnist"].accuracy, floors.mnist_accuracy),
        _at_least(
            "rendered test accuracy", candidate.sets["rendered"].accuracy, floors.rendered_accuracy
        ),
        _at_most("int8 accuracy drop", quantisation.drop, floors.quantisation_drop),
        _at_most("int8 label flips", quantisation.flips_frac, floors.quantisation_flips_frac),
        _at_most("int8/fp32 latency at batch 32", latency.ratio(32), floors.latency_ratio),
        _at_most("model file bytes", candidate.size_bytes, floors.size_bytes),
    ]
    for name, result in candidate.sets.items():
        reasons += _against_champion(name, result)
    return Verdict(tuple(reasons))


def _against_champion(name: str, result: SetResult) -> list[Reason]:
    """Allow a loss only within chance and within the smallest difference this set can show.

    The smallest difference that N crops can show falls with the square root of N. Two equal
    networks differ on about 31 of UCI's 1,797 crops. A margin of 0.1 % (two crops there) would
    refuse one of three equal networks.
    """
    if result.champion_accuracy is None or result.mcnemar_p is None:
        return []
    limit = result.champion_accuracy
    if result.mcnemar_p >= SIGNIFICANT:
        limit -= MAX_DROP * max(1.0, math.sqrt(MAX_DROP_CROPS / result.num))
    return [_at_least(f"{name} accuracy against the champion", result.accuracy, limit)]


def _at_least(name: str, value: float, limit: float) -> Reason:
    return Reason(name, value, limit, value >= limit)


def _at_most(name: str, value: float, limit: float) -> Reason:
    return Reason(name, value, limit, value <= limit)
