"""Judge a month's candidate against the champion. Pure.

Knows nothing about stores, networks or ONNX.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from examples.monthly_embeddings import projection
from examples.monthly_embeddings.features import Features
from examples.monthly_embeddings.projection import TOP, Projection
from training.evaluation.confidence import mcnemar_p
from training.gate_verdict import Reason, Verdict, at_least, at_most

EQUAL_REFUSED_FRAC: Final = 0.01  # of candidates that are as good as the champion
SHUFFLED_P: Final = 0.001  # of shuffled months that pass
MIN_NEW: Final = 20  # pairs of a month; fewer say too little about it
TIMES_CHANCE: Final = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Champion:
    """What is served."""

    month: str  # whose pairs were the last that it was fitted on
    projection: Projection


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What the gate says of a month's candidate."""

    verdict: Verdict
    recall: float  # at 5, on the test share so far
    champion_recall: float | None  # of the champion, on the same


def judge(
    candidate: Projection,
    features: Features,
    is_test: NDArray[np.bool_],
    months: Sequence[str],
    champion: Champion | None,
) -> Judged:
    """Judge what was fitted on all that has arrived but the test share.

    Args:
        candidate: the fit.
        features: of N pairs.
        is_test: (N,) the test share.
        months: (N,) in which each pair arrived.
        champion: what is served; None: there is none yet.
    """
    hits = _found(candidate, features, is_test)
    chance = min(1.0, TOP / max(1, len(hits)))
    reasons = [at_least("recall@5 on the test share", _mean(hits), TIMES_CHANCE * chance)]
    if champion is None:
        return Judged(Verdict(tuple(reasons)), _mean(hits), None)
    notes: list[str] = []
    before = _found(champion.projection, features, is_test)
    lost, won = int((before & ~hits).sum()), int((hits & ~before).sum())
    p = mcnemar_p(lost, won, alternative="greater")
    reasons.append(at_least(f"chance of losing {lost}, winning {won}", p, EQUAL_REFUSED_FRAC))
    for month in sorted({one for one in months if one > champion.month}):
        is_new = np.array([one == month for one in months])
        if is_new.sum() < MIN_NEW:
            few = f"{is_new.sum()} pairs of {month} are too few to see whether texts are shuffled"
            notes.append(few)
        else:
            reasons.extend(_judge_month(month, features, is_new, champion.projection))
    return Judged(Verdict(tuple(reasons), tuple(notes)), _mean(hits), _mean(before))


def _judge_month(
    month: str, features: Features, is_new: NDArray[np.bool_], champion: Projection
) -> list[Reason]:
    """Whether a month's texts belong to their pictures, as the champion sees them."""
    pictures = champion.images(features.images[is_new])
    texts = champion.texts(features.texts[is_new])
    p = projection.shuffled_p(pictures, texts)
    lead = projection.shift_lead(pictures, texts)
    return [
        at_most(f"chance that the texts of {month} are shuffled", p, SHUFFLED_P),
        at_least(f"lead of the texts of {month} over shifted lines", lead, 0.0),
    ]


def recall(fitted: Projection, features: Features, is_test: NDArray[np.bool_]) -> float:
    """Share of the test share's texts that find their picture among its five best pictures."""
    return _mean(_found(fitted, features, is_test))


def _found(fitted: Projection, features: Features, is_test: NDArray[np.bool_]) -> NDArray[np.bool_]:
    pictures = fitted.images(features.images[is_test])
    return projection.found(pictures, fitted.texts(features.texts[is_test]))


def _mean(hits: NDArray[np.bool_]) -> float:
    return float(hits.mean()) if len(hits) else 0.0
