"""Statistics of accuracy and confidence: intervals, temperature, thresholds, garbage.

Pure. Callers fit on validation and report on test. Knows nothing about models or files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from model.decision import softmax

NUM_BINS = 15  # of the reliability diagram, as Guo et al. use
ERROR_TARGETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01)
DEFAULT_ERROR_TARGET = 0.001


@dataclass(frozen=True, slots=True)
class Proportion:
    """A share with its 95 % Wilson interval."""

    num: int
    num_right: int

    @property
    def value(self) -> float:
        """The share itself."""
        return self.num_right / self.num

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end."""
        bounds = binomtest(self.num_right, self.num).proportion_ci(method="wilson")
        return float(bounds.low), float(bounds.high)


@dataclass(frozen=True, slots=True)
class Threshold:
    """The lowest confidence that is accepted, for one error target."""

    error_target: float
    threshold: float
    accepted_frac: float  # on the validation mix


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """For each share of reads accepted (most confident first), the share of them wrong."""

    coverage: NDArray[np.float64]
    risk: NDArray[np.float64]
    confidence: NDArray[np.float64]  # of the last read accepted


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.uint8]) -> float:
    """The temperature with the least negative log-likelihood.

    Source:
        Guo et al., "On Calibration of Modern Neural Networks", 2017.
    """

    def loss(log_temperature: float) -> float:
        probs = softmax(logits, float(np.exp(log_temperature)))
        right = probs[np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(right, 1e-12)).mean())

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(found.x))


@dataclass(frozen=True, slots=True)
class Reliability:
    """Number, mean confidence and accuracy of the reads in each bin of confidence."""

    num: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean gap, weighted by the bins' sizes."""
        gaps = np.abs(self.confidence - self.accuracy) * self.num
        return float(gaps.sum() / self.num.sum())


def reliability(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> Reliability:
    """Bin (N,) confidences into equal widths."""
    bins = np.minimum((confidence * NUM_BINS).astype(int), NUM_BINS - 1)
    num = np.bincount(bins, minlength=NUM_BINS)
    divisor = np.maximum(num, 1)
    return Reliability(
        num=num,
        confidence=np.bincount(bins, confidence, NUM_BINS) / divisor,
        accuracy=np.bincount(bins, right.astype(float), NUM_BINS) / divisor,
    )


def risk_coverage(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> RiskCoverage:
    """The curve of accepted reads against wrong reads among them."""
    order = np.argsort(-confidence, kind="stable")
    num = np.arange(1, len(order) + 1)
    return RiskCoverage(
        coverage=num / len(order),
        risk=np.cumsum(~right[order]) / num,
        confidence=confidence[order],
    )


def coverage_at(curve: RiskCoverage, error_target: float) -> float:
    """Largest share that can be accepted with at most `error_target` of it wrong."""
    good = np.flatnonzero(curve.risk <= error_target)
    return float(curve.coverage[good[-1]]) if len(good) else 0.0


def choose_thresholds(
    confidence: NDArray[np.float64], right: NDArray[np.bool_]
) -> tuple[Threshold, ...]:
    """One threshold for each error target that the validation mix can reach.

    The choice is cautious by one error: with n reads accepted and k of them wrong, (k + 1) / n
    stays below the target.
    """
    curve = risk_coverage(confidence, right)
    cautious = curve.risk + 1 / np.arange(1, len(right) + 1)
    # Reads of equal confidence are accepted together, so only the last of a tie may be a limit.
    is_last = np.append(np.diff(curve.confidence) != 0, [True])
    thresholds = []
    for target in ERROR_TARGETS:
        good = np.flatnonzero((cautious <= target) & is_last)
        if len(good):
            last = good[-1]
            thresholds.append(
                Threshold(target, float(curve.confidence[last]), float(curve.coverage[last]))
            )
    return tuple(thresholds)


def auroc(garbage: NDArray[np.floating], digits: NDArray[np.floating]) -> float:
    """Chance that a garbage crop scores higher than a digit; ties count half."""
    is_garbage = np.arange(len(garbage) + len(digits)) < len(garbage)
    return float(roc_auc_score(is_garbage, np.concatenate([garbage, digits])))


def false_positive_rate(
    garbage: NDArray[np.floating], digits: NDArray[np.floating], *, true_positive_rate: float
) -> float:
    """Share of garbage that passes when `true_positive_rate` of the digits pass."""
    limit = np.quantile(digits, true_positive_rate)
    return float((garbage <= limit).mean())


def mcnemar(first_right: NDArray[np.bool_], second_right: NDArray[np.bool_]) -> float:
    """Exact two-sided p value that two readers of the same crops are equally good.

    Source:
        McNemar, "Note on the sampling error of the difference between correlated
        proportions", 1947.
    """
    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)
