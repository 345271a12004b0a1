"""Statistics of accuracy and confidence: intervals, temperature, curves, garbage.

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
    """Exact two-sided p value that two readers of the same crops are equally good."""
    return mcnemar_p(
        int((first_right & ~second_right).sum()), int((second_right & ~first_right).sum())
    )


def mcnemar_p(
    num_only_first: int, num_only_second: int, *, alternative: str = "two-sided"
) -> float:
    """The same from the crops that only one of the two reads right.

    Args:
        num_only_first: crops that only the first reads right.
        num_only_second: crops that only the second reads right.
        alternative: "two-sided", or "greater": the first is better.

    Source:
        McNemar, "Note on the sampling error of the difference between correlated
        proportions", 1947.
    """
    num = num_only_first + num_only_second
    return float(binomtest(num_only_first, num, alternative=alternative).pvalue) if num else 1.0
