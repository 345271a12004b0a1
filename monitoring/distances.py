"""Statistics that compare two samples. Pure; the limits are in the rules."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from capture.reference import NUMERIC

MIN_VALUES: Final = 100  # with fewer on a side, a distance is noise
# The least spread that a distance is divided by. A scanner with one fixed height has a spread of 0
# there, and any other height would be thousands of its standard deviations away. Each is a tenth of
# the spread in the reference of champion 5 (`pandas.DataFrame.std` of champion/reference.parquet).
LEAST_SPREAD: Final = {
    "ink_mass": 0.004,
    "stroke_width_px": 0.06,
    "slant_deg": 1.7,
    "grey_edge_share": 0.013,
    "sharpness": 0.027,
    "contrast": 0.019,
    "paper_grey": 0.033,
    "paper_grain": 0.003,
    "margin": 0.007,
    "height_px": 3.6,
    "aspect": 0.03,
    "num_dropped": 0.07,
    "confidence": 0.006,
    "entropy": 0.025,
    "gap": 0.011,
    "garbage": 0.3,
}


def measure_distances(current: pd.DataFrame, reference: pd.DataFrame) -> dict[str, float]:
    """Normed Wasserstein distance of each numeric column that has enough values on both sides."""
    return {
        name: distance
        for name in NUMERIC
        if np.isfinite(
            distance := normed_distance(
                current[name], reference[name], least_spread=LEAST_SPREAD[name]
            )
        )
    }


def normed_distance(current: pd.Series, reference: pd.Series, *, least_spread: float) -> float:
    """Wasserstein distance over the reference's standard deviation; NaN below `MIN_VALUES`.

    Source:
        Evidently's `wasserstein` drift method, with a floor of its own for each column.
    """
    values, expected = current.dropna().to_numpy(float), reference.dropna().to_numpy(float)
    if min(len(values), len(expected)) < MIN_VALUES:
        return float("nan")
    norm = max(float(expected.std()), least_spread)
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
