"""A month's refit: fit on what has arrived, judge it against the champion. Pure.

Knows nothing about stores, networks or ONNX.
"""

from __future__ import annotations

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
class Refitted:
    """A month's candidate."""

    projection: Projection
    verdict: Verdict
    recall: float  # at 5, on the test share so far
    champion_recall: float | None  # of the champion, on the same


def refit(
    features: Features,
    is_test: NDArray[np.bool_],
    is_new: NDArray[np.bool_],
    champion: Projection | None,
) -> Refitted:
    """Fit a candidate on all that has arrived but the test share, and judge it.

    Args:
        features: of N pairs.
        is_test: (N,) the test share.
        is_new: (N,) those of the month.
        champion: what is served; None: there is none yet.
    """
    candidate = projection.fit(features.images[~is_test], features.texts[~is_test])
    hits = _found(candidate, features, is_test)
    chance = min(1.0, TOP / max(1, len(hits)))
    reasons: list[Reason] = [
        at_least("recall@5 on the test share", _mean(hits), TIMES_CHANCE * chance)
    ]
    notes: list[str] = []
    before = None if champion is None else _found(champion, features, is_test)
    if champion is not None and before is not None:
        lost, won = int((before & ~hits).sum()), int((hits & ~before).sum())
        p = mcnemar_p(lost, won, alternative="greater")
        reasons.append(at_least(f"chance of losing {lost}, winning {won}", p, EQUAL_REFUSED_FRAC))
        if is_new.sum() >= MIN_NEW:
            pictures = champion.images(features.images[is_new])
            texts = champion.texts(features.texts[is_new])
            p = projection.shuffled_p(pictures, texts)
            lead = projection.shift_lead(pictures, texts)
            reasons.append(at_most("chance that the month's texts are shuffled", p, SHUFFLED_P))
            reasons.append(at_least("lead of the month's texts over shifted lines", lead, 0.0))
        else:
            notes.append(f"{is_new.sum()} new pairs are too few to see whether texts are shuffled")
    recall_before = None if before is None else _mean(before)
    verdict = Verdict(tuple(reasons), tuple(notes))
    return Refitted(candidate, verdict, _mean(hits), recall_before)


def recall(fitted: Projection, features: Features, is_test: NDArray[np.bool_]) -> float:
    """Share of the test share's texts that find their picture among its five best pictures."""
    return _mean(_found(fitted, features, is_test))


def _found(fitted: Projection, features: Features, is_test: NDArray[np.bool_]) -> NDArray[np.bool_]:
    pictures = fitted.images(features.images[is_test])
    return projection.found(pictures, fitted.texts(features.texts[is_test]))


def _mean(hits: NDArray[np.bool_]) -> float:
    return float(hits.mean()) if len(hits) else 0.0
