"""Statistics that compare two samples. Pure; the limits are in the rules."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from capture.reference import NUMERIC

MIN_VALUES: Final = 100  # with fewer on a side, a distance is noise
_SMALLEST_STD: Final = 0.001  # Evidently uses the same for a constant column


def measure_distances(current: pd.DataFrame, reference: pd.DataFrame) -> dict[str, float]:
    """Normed Wasserstein distance of each numeric column that has enough values on both sides."""
    return {
        name: distance
        for name in NUMERIC
        if np.isfinite(distance := normed_distance(current[name], reference[name]))
    }


def normed_distance(current: pd.Series, reference: pd.Series) -> float:
    """Wasserstein distance over the reference's standard deviation; NaN below `MIN_VALUES`.

    Source:
        Evidently's `wasserstein` drift method, which the report uses; a test holds them equal.
    """
    values, expected = current.dropna().to_numpy(float), reference.dropna().to_numpy(float)
    if min(len(values), len(expected)) < MIN_VALUES:
        return float("nan")
    norm = max(float(expected.std()), _SMALLEST_STD)
    return float(stats.wasserstein_distance(expected, values)) / norm


def class_mix_p(current: pd.Series, reference: pd.Series) -> float:
    """Chi-squared test that both have the same mix; NaN below `MIN_VALUES`.

    Both sides are samples, so the test compares two tables of counts.
    """
    counts = [side.dropna().value_counts() for side in (current, reference)]
    if min(int(side.sum()) for side in counts) < MIN_VALUES:
        return float("nan")
    names = counts[0].index.union(counts[1].index)
    table = np.stack([side.reindex(names, fill_value=0) for side in counts])
    if table.shape[1] < 2:
        return 1.0
    return float(stats.chi2_contingency(table).pvalue)


def jensen_shannon(current: pd.Series, reference: pd.Series) -> float:
    """Jensen-Shannon distance of two mixes, square root of nats; NaN below `MIN_VALUES`."""
    known = [side.dropna() for side in (current, reference)]
    if min(map(len, known)) < MIN_VALUES:
        return float("nan")
    shares = [side.value_counts(normalize=True) for side in known]
    names = shares[0].index.union(shares[1].index)
    p, q = (side.reindex(names, fill_value=0).to_numpy() for side in shares)
    mean = (p + q) / 2
    return float(np.sqrt((stats.entropy(p, mean) + stats.entropy(q, mean)) / 2))


def binomial_p(current: NDArray[np.bool_], reference: NDArray[np.bool_]) -> float:
    """Probability of at least this many by chance, if the true share is that of the reference.

    The reference is a sample too, so its share is replaced by its upper 95 % bound.
    """
    known = stats.binomtest(int(reference.sum()), len(reference))
    highest = known.proportion_ci(confidence_level=0.9).high
    test = stats.binomtest(int(current.sum()), len(current), highest, alternative="greater")
    return float(test.pvalue)
