"""The share of accepted crops that is wrong, estimated from the audit sample. Pure.

Labels that people gave for another reason, such as those of rejected crops, take no part: they are
no random sample of accepted crops.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import beta

CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class AuditEstimate:
    """Wrong among accepted at one site, or at all of them; NaN where nothing is judged."""

    site: str  # "" is all sites together
    num_marked: int
    num_judged: int  # marked crops that an audit settled
    num_wrong: int  # of these
    error: float
    low: float  # of the interval, CONFIDENCE
    high: float


def judged_marks(marked: pd.DataFrame) -> pd.DataFrame:
    """The marked crops that an audit settled; one that nobody can read is not judged."""
    return marked[marked["label"].notna() & marked["is_audit"].eq(True)]  # noqa: FBT003 - pandas


def estimate(marked: pd.DataFrame) -> list[AuditEstimate]:
    """Estimate all sites together, then each site by name; none where nothing is marked.

    The estimate is the ratio of two Horvitz-Thompson totals, of wrong and of all accepted crops.
    Each judged crop counts 1 / its inclusion probability, times its site's marked over judged
    crops, because not all marks may be keyed yet. A site without a judged crop is not in the total.

    Args:
        marked: every marked crop of a window: site, digit, label, is_audit, audit_probability.

    Source:
        Horvitz and Thompson, JASA 47 (1952); Hajek's ratio.
    """
    if marked.empty:
        return []
    judged = judged_marks(marked)
    num_marked, num_judged = marked["site"].value_counts(), judged["site"].value_counts()
    answered = judged["site"].map(num_judged / num_marked).to_numpy(float)
    weights = 1 / (judged["audit_probability"].to_numpy(float) * answered)
    wrong = (judged["digit"] != judged["label"]).to_numpy(bool)
    sites = judged["site"].to_numpy()
    return [
        _of("", len(marked), wrong, weights),
        *(
            _of(str(site), int(num_marked[site]), wrong[sites == site], weights[sites == site])
            for site in sorted(num_marked.index)
        ),
    ]


def _of(
    site: str, num_marked: int, wrong: NDArray[np.bool_], weights: NDArray[np.float64]
) -> AuditEstimate:
    nan = float("nan")
    if not len(wrong):
        return AuditEstimate(site, num_marked, 0, 0, nan, nan, nan)
    error = float(weights[wrong].sum() / weights.sum())
    low, high = interval(error, effective_size(wrong, weights))
    return AuditEstimate(site, num_marked, len(wrong), int(wrong.sum()), error, low, high)


def effective_size(wrong: NDArray[np.bool_], weights: NDArray[np.float64]) -> float:
    """The size of the equally weighted sample whose share of wrong is as uncertain.

    By the variance of the weighted share (linearized, each crop drawn alone), and at most Kish's
    size: with few wrong crops that variance is itself uncertain. Kish's alone is too large where
    crops that are marked less are wrong more often: its intervals covered 90 % instead of 95 %
    (tests/monitoring/test_audits.py).

    Source:
        Kish, Survey Sampling (1965), 11.7; Korn and Graubard, Survey Methodology 24 (1998).
    """
    total = weights.sum()
    by_weights = float(total**2 / (weights**2).sum())
    share = float(weights[wrong].sum() / total)
    variance = float((weights**2 * (wrong - share) ** 2).sum() / total**2)
    if variance == 0:
        return by_weights
    return min(by_weights, share * (1 - share) / variance)


def interval(share: float, size: float) -> tuple[float, float]:
    """The Clopper-Pearson interval of a share, with the effective size in place of the size.

    Source:
        Korn and Graubard, Survey Methodology 24 (1998).
    """
    count, tail = share * size, (1 - CONFIDENCE) / 2
    low = float(beta.ppf(tail, count, size - count + 1)) if count > 0 else 0.0
    high = float(beta.ppf(1 - tail, count + 1, size - count)) if count < size else 1.0
    return low, high
