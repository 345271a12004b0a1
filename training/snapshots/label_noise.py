"""Labels that are likely wrong, and how well each person labels. The only importer of cleanlab.

Pure. Where people make one mistake in a hundred crops, about four in ten of the likely wrong labels
are wrong. So they go to a second person and stay in training. Only where the champion is nearly
certain of another digit (`SURELY`) is the crop set aside until a second person has said the same.

Source:
    Northcutt, Jiang and Chuang, Confident Learning, JAIR 70 (2021).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray

from training.snapshots.reading import MailCrops
from training.snapshots.sources import TOGETHER, sources_of

SURELY: Final = 0.999  # at least five in six of the labels that contradict this are wrong


@dataclass(frozen=True, slots=True)
class Annotator:
    """How one person labels."""

    name: str
    num: int
    agree_frac: float  # with the champion's digit; lower where crops are harder
    quality: float  # mean of cleanlab's label quality, 0 to 1
    num_likely_wrong: int


def likely_wrong(labels: NDArray[np.uint8], probs: NDArray[np.float64]) -> NDArray[np.intp]:
    """The rows whose labels are likely wrong, the likeliest first.

    Labels of a single digit give none: cleanlab compares each digit with the others.
    """
    if len(np.unique(labels)) < 2:
        return np.empty(0, np.intp)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a digit that has few examples
        rows: NDArray[np.intp] = find_label_issues(
            labels.astype(np.int64),
            probs,
            filter_by="low_self_confidence",
            return_indices_ranked_by="self_confidence",
            n_jobs=1,
        )
    return rows


def surely_wrong(mail: MailCrops, probs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Rows of one person where the champion is nearly certain of another digit."""
    alone = np.array([TOGETHER not in who for who in mail.whos], bool)
    other = probs.argmax(axis=1) != mail.labels
    found: NDArray[np.bool_] = alone & other & (probs.max(axis=1) >= SURELY)
    return found


def annotators(
    mail: MailCrops, probs: NDArray[np.float64], wrong: NDArray[np.intp]
) -> tuple[Annotator, ...]:
    """One row for each person, the worst first."""
    if not len(mail):
        return ()
    quality = get_label_quality_scores(mail.labels.astype(np.int64), probs)
    agree = probs.argmax(axis=1) == mail.labels
    found = [
        Annotator(
            source.name,
            len(source.rows),
            float(agree[source.rows].mean()),
            float(quality[source.rows].mean()),
            int(np.isin(source.rows, wrong).sum()),
        )
        for source in sources_of(mail)
        if source.kind == "person"
    ]
    return tuple(sorted(found, key=lambda one: one.quality))
