"""Which labels of the year are trained on, by the product's own validation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.snapshots.reading import MailCrops
from training.snapshots.validation import validate
from training.studies.year_arms import Labels, in_test_share
from training.studies.year_keying import POISONER


def keep(
    labels: Labels,
    images: NDArray[np.uint8],
    sites: NDArray[np.str_],
    probs: NDArray[np.float64],
) -> tuple[NDArray[np.bool_], str]:
    """Validate labels; which are kept, and who is quarantined.

    Args:
        labels: all of an arm, in the order in which they came.
        images: (K, 28, 28) of the labels.
        sites: (K,).
        probs: (K, 10) of the champion.
    """
    hows = np.where(labels.weights > 1, "audit", "keyed")
    hows[labels.who == POISONER] = "import"
    mail = MailCrops(
        images,
        labels.labels,
        sites,
        np.full(len(sites), "captures"),
        hows,
        labels.who,
        labels.weights,
    )
    is_test = in_test_share(labels.rows)
    report = validate(mail.take(~is_test), mail.take(is_test), probs[~is_test])
    kept = np.ones(len(sites), np.bool_)
    kept[~is_test] = report.keep
    bad = sorted({f"{one.source}" for one in report.quarantined})
    return kept, f"quarantined: {', '.join(bad)}" if bad else ""
