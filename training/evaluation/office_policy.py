"""The thresholds of an office: looser than the model's where its own labels allow it. Pure.

A model's thresholds come from digits that are not this office's: rendered ones, in part harder.
What an office keys shows how its own mail is read. Every reject is keyed, so the wrong reads that a
looser threshold would add are counted, not estimated. The reads that were accepted already keep the
error that the model was validated for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.decision import Policy, softmax

ADDED_SHARE = 0.5  # of the error target that looser thresholds may use up
LOWEST_THRESHOLD = 0.98
NUM_STEPS = 4  # of the threshold, then of the garbage threshold
GARBAGE_STEP = 0.25
HARM_MARGIN = 0.002  # above the champion's share of damaged digits that are accepted and wrong
NUM_GARBAGE_STEPS = 12


@dataclass(frozen=True, slots=True)
class Scored:
    """Crops that a network has read, none of which it was fitted on."""

    logits: NDArray[np.float32]  # (N, 10)
    garbage: NDArray[np.float32]  # (N,)
    labels: NDArray[np.integer]  # (N,) digits; anything else is never read right
    weights: NDArray[np.float64]  # (N,) reads that each stands for

    def accepted(self, policy: Policy) -> NDArray[np.bool_]:
        """Which crops a policy accepts, (N,)."""
        confidence = softmax(self.logits, policy.temperature).max(axis=1)
        chosen: NDArray[np.bool_] = (confidence >= policy.threshold) & (
            self.garbage <= policy.garbage_threshold
        )
        return chosen

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Which answers are not the label, (N,)."""
        different: NDArray[np.bool_] = self.logits.argmax(axis=1) != self.labels
        return different


def choose(
    standard: Policy, mail: Scored, damaged: Scored, *, champion_harm: float, error_target: float
) -> Policy:
    """The loosest policy of a fixed sequence that mail and damaged crops allow.

    The sequence lowers the threshold, then raises the garbage threshold, and ends at the first
    policy that fails; so a later one is not found by luck.

    Args:
        standard: the model's own policy for the error target.
        mail: the office's labelled reads: all its rejects, and a share of the accepted.
        damaged: crops that should be rejected or still read right.
        champion_harm: share of the damaged crops that the champion accepts and reads wrongly.
        error_target: largest share of accepted reads that may be wrong.
    """
    chosen = standard
    before = mail.accepted(standard)
    harm_limit = champion_harm + HARM_MARGIN
    allowed = ADDED_SHARE * error_target * float(mail.weights.sum())
    for policy in _sequence(standard):
        added = mail.wrong & mail.accepted(policy) & ~before
        # One more than was seen: a sample in which nothing is wrong proves no zero.
        if 1 + float(mail.weights[added].sum()) > allowed or harm(damaged, policy) > harm_limit:
            break
        chosen = policy
    return chosen


def _sequence(standard: Policy) -> Iterator[Policy]:
    """Policies from strict to loose."""
    policy = standard
    if standard.threshold > LOWEST_THRESHOLD:
        for threshold in np.linspace(standard.threshold, LOWEST_THRESHOLD, NUM_STEPS + 1)[1:]:
            policy = replace(standard, threshold=float(threshold))
            yield policy
    for step in range(1, NUM_GARBAGE_STEPS + 1):
        raised = standard.garbage_threshold + step * GARBAGE_STEP
        yield replace(policy, garbage_threshold=raised)


def harm(damaged: Scored, policy: Policy) -> float:
    """Share of damaged crops that are accepted and wrong."""
    return float((damaged.accepted(policy) & damaged.wrong).mean()) if len(damaged.labels) else 0.0
