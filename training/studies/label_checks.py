"""Which labels of the year validation keeps, by the product's own validation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.studies.year_arms import Labels


def keep(
    labels: Labels,
    _images: NDArray[np.uint8],
    _sites: NDArray[np.str_],
    probs: NDArray[np.float64],
) -> tuple[NDArray[np.bool_], str]:
    """Validate labels; which are kept, and what was found."""
    differs = (probs.max(axis=1) > 0.9) & (probs.argmax(axis=1) != labels.labels)
    kept = np.ones(len(labels.rows), np.bool_)
    bad = []
    for who in sorted(set(labels.who.tolist())):
        theirs = labels.who == who
        if differs[theirs].mean() > 0.1:
            kept &= ~theirs
            bad.append(who)
    return kept, f"quarantined: {', '.join(bad)}" if bad else ""
