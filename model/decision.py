"""Logits -> Decision: which digit, how sure, and whether a person must read it instead."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.classifier import Scores

NUM_DIGITS: Final = 10
Rejection = Literal["low_confidence", "blank", "not_a_digit"]


@dataclass(frozen=True, slots=True)
class Policy:
    """How scores become decisions; fitted on validation data and stored with the model."""

    temperature: float  # divides the logits, so that confidence equals the share of correct reads
    threshold: float  # below it, a person reads the crop
    garbage_threshold: float  # garbage score above it is not a digit

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}; it must be above 0")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold}; it must be between 0 and 1")
        if math.isnan(self.garbage_threshold):
            raise ValueError(
                "garbage_threshold is not a number; every crop would be accepted as a digit"
            )


# A frozen dataclass takes three times as long to make (python -m loadtest bench --parts crops).
class Decision(NamedTuple):
    """One crop's answer. `digit` is None only where there is no ink to read."""

    digit: int | None
    confidence: float  # top probability after temperature
    # The latter two by the service alone: what a site or a field's code says of a digit.
    rejected_because: Rejection | Literal["site_on_hold", "code_rejected"] | None
    probs: Sequence[float]  # one for each digit; sums to 1, empty where there is no ink
    ranking: Sequence[int]  # digits by falling probability

    @property
    def accepted(self) -> bool:
        """Whether a machine may act on the digit."""
        return self.rejected_because is None


BLANK: Final = Decision(digit=None, confidence=0.0, rejected_because="blank", probs=(), ranking=())


def decide(scores: Scores, policy: Policy) -> list[Decision]:
    """Turn a batch of B scores into B decisions, in order."""
    probs = softmax(scores.logits, policy.temperature)
    rankings = np.argsort(-probs, axis=1, kind="stable").tolist()
    return [
        Decision(
            digit=ranking[0],
            confidence=row[ranking[0]],
            rejected_because=_reject(row[ranking[0]], garbage, policy),
            probs=row,
            ranking=ranking,
        )
        for row, ranking, garbage in zip(
            probs.tolist(), rankings, scores.garbage.tolist(), strict=True
        )
    ]


def _reject(confidence: float, garbage: float, policy: Policy) -> Rejection | None:
    if garbage > policy.garbage_threshold:
        return "not_a_digit"
    if confidence < policy.threshold:
        return "low_confidence"
    return None


def softmax(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """Probabilities of (B, 10) logits divided by a temperature.

    Computed in float64 outside of the quantised graph; inside it, probabilities would have steps of
    1/256.

    Returns:
        (B, 10) float64, each row sums to 1.
    """
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    np.exp(scaled, out=scaled)
    scaled /= scaled.sum(axis=1, keepdims=True)
    return scaled
