"""Evaluate a quantised model on every set: accuracy, confidence, refusal, int8 against fp32.

Pure given the suites, apart from the clock that measures latency. Temperature and thresholds are
fitted on validation; the test sets only give results. Knows nothing about files or promotion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.classifier import Classifier
from model.decision import Policy, softmax
from training import quantization
from training.evaluation import confidence as numbers
from training.evaluation.suites import ORDINARY_SEVERITY, LabelledBatch, Suites

# Candidates for the share of rendered validation digits that the garbage head refuses. The largest
# share that costs at most MAX_ACCEPTED_COST of the accepted digits is chosen: most digits that the
# head refuses have a confidence below the threshold anyway.
REFUSED_FRACS = (0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05)
MAX_CLEAN_REFUSED_FRAC = 0.002
MAX_ACCEPTED_COST = 0.005  # of the validation digits, at the default error target
SCORING_BATCH = 512


@dataclass(frozen=True, slots=True)
class Reads:
    """A model's answers to one labelled set."""

    labels: NDArray[np.uint8]
    logits: NDArray[np.float32]
    garbage: NDArray[np.float32]
    confidence: NDArray[np.float64]  # after temperature

    @property
    def digits(self) -> NDArray[np.intp]:
        """The answers."""
        answers: NDArray[np.intp] = self.logits.argmax(1)
        return answers

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which answers are the label."""
        same: NDArray[np.bool_] = self.digits == self.labels
        return same


@dataclass(frozen=True, slots=True)
class SetResult:
    """One test set in numbers."""

    num: int
    accuracy: float
    accuracy_low: float  # 95 % Wilson interval
    accuracy_high: float
    accuracy_by_class: tuple[float, ...]
    ece: float
    accepted_frac: float  # by the default threshold and the garbage head
    accepted_error_frac: float
    coverage_at_default_target: float  # largest share of this set with at most that error
    champion_accuracy: float | None
    mcnemar_p: float | None  # against the champion, on the same crops


@dataclass(frozen=True, slots=True)
class GarbageResult:
    """How well the garbage head separates garbage from rendered digits."""

    auroc: float
    fpr_at_95_tpr: float
    max_softmax_auroc: float  # of the confidence alone
    refused_frac: Mapping[str, float]  # by kind, at the manifest's threshold
    accepted_frac: Mapping[str, float]  # by kind, past head and confidence


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that the gate, the manifest and the model card need."""

    sets: Mapping[str, SetResult]
    corruptions: Mapping[str, Mapping[str, float]]  # name -> severity -> accuracy
    mean_corruption_accuracy: float  # at severity 3
    temperature: float
    thresholds: tuple[numbers.Threshold, ...]
    garbage_threshold: float
    garbage: GarbageResult | None
    quantisation: quantization.QuantisationChange  # on the MNIST test set
    rendered_quantisation: quantization.QuantisationChange
    latency: quantization.Latency
    size_bytes: int
    fp32_size_bytes: int


def read(classifier: Classifier, part: LabelledBatch, temperature: float) -> Reads:
    """Score one set."""
    logits, garbage = score(classifier, part.batch)
    return Reads(part.labels, logits, garbage, softmax(logits, temperature).max(1))


def score(
    classifier: Classifier, batch: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits (N, 10) and garbage (N,) of a set of any size."""
    scores = [
        classifier(batch[start : start + SCORING_BATCH])
        for start in range(0, len(batch), SCORING_BATCH)
    ]
    return (
        np.concatenate([part.logits for part in scores]),
        np.concatenate([part.garbage for part in scores]),
    )


def fit_policy(
    classifier: Classifier, suites: Suites
) -> tuple[Policy, tuple[numbers.Threshold, ...]]:
    """Fit temperature, garbage threshold and thresholds on validation.

    Raises:
        ValueError: no threshold reaches the default error target.
    """
    logits, garbage = score(classifier, suites.validation.batch)
    labels = suites.validation.labels
    temperature = numbers.fit_temperature(logits, labels)
    reads = Reads(labels, logits, garbage, softmax(logits, temperature).max(1))
    garbage_threshold = 0.0  # unused by a network without a garbage head
    if np.isfinite(garbage).all():
        garbage_threshold = choose_garbage_threshold(reads, suites.validation_is_clean)
    thresholds = _thresholds(reads, garbage_threshold)
    by_target = {row.error_target: row.threshold for row in thresholds}
    if numbers.DEFAULT_ERROR_TARGET not in by_target:
        raise ValueError(
            f"no confidence threshold keeps the validation error of accepted reads below "
            f"{numbers.DEFAULT_ERROR_TARGET:.1%}; the model is not fit for use"
        )
    default = by_target[numbers.DEFAULT_ERROR_TARGET]
    return Policy(temperature, default, garbage_threshold), thresholds


def choose_garbage_threshold(reads: Reads, is_clean: NDArray[np.bool_]) -> float:
    """The lowest threshold whose accepted share is within MAX_ACCEPTED_COST of the best."""
    floor = float(np.quantile(reads.garbage[is_clean], 1 - MAX_CLEAN_REFUSED_FRAC))
    limits = [
        max(floor, float(np.quantile(reads.garbage[~is_clean], 1 - refused_frac)))
        for refused_frac in REFUSED_FRACS
    ]
    accepted = [_accepted_frac(reads, limit) for limit in limits]
    return min(
        limit
        for limit, share in zip(limits, accepted, strict=True)
        if share >= max(accepted) - MAX_ACCEPTED_COST
    )


def _accepted_frac(reads: Reads, garbage_threshold: float) -> float:
    """Share accepted at the default error target; 0 where that cannot be reached."""
    by_target = {
        row.error_target: row.accepted_frac for row in _thresholds(reads, garbage_threshold)
    }
    return by_target.get(numbers.DEFAULT_ERROR_TARGET, 0.0)


def _thresholds(reads: Reads, garbage_threshold: float) -> tuple[numbers.Threshold, ...]:
    """Confidence thresholds for reads that pass the garbage head; shares are of all reads."""
    passed = reads.garbage <= garbage_threshold
    return tuple(
        replace(row, accepted_frac=row.accepted_frac * float(passed.mean()))
        for row in numbers.choose_thresholds(reads.confidence[passed], reads.right[passed])
    )


def evaluate(
    fp32_bytes: bytes, int8_bytes: bytes, suites: Suites, *, champion: Classifier | None = None
) -> Evaluation:
    """Evaluate a candidate.

    Args:
        fp32_bytes: the exact ONNX model.
        int8_bytes: the quantised one, which would be served.
        suites: the sets.
        champion: the current model, which reads the same crops for comparison.
    """
    fp32, int8 = Classifier(fp32_bytes), Classifier(int8_bytes)
    policy, thresholds = fit_policy(int8, suites)
    corruptions: dict[str, dict[str, float]] = {}
    for (name, severity), part in suites.corruptions.items():
        right = read(int8, part, policy.temperature).right
        corruptions.setdefault(name, {})[str(severity)] = float(right.mean())
    ordinary = [row[str(ORDINARY_SEVERITY)] for row in corruptions.values()]
    mnist, rendered = suites.tests["mnist"], suites.tests["rendered"]
    return Evaluation(
        sets={
            name: judge_set(int8, part, policy, champion=champion)
            for name, part in suites.tests.items()
        },
        corruptions=corruptions,
        mean_corruption_accuracy=float(np.mean(ordinary)),
        temperature=policy.temperature,
        thresholds=thresholds,
        garbage_threshold=policy.garbage_threshold,
        garbage=judge_garbage(int8, suites, policy),
        quantisation=quantization.compare(fp32, int8, mnist.batch, mnist.labels),
        rendered_quantisation=quantization.compare(fp32, int8, rendered.batch, rendered.labels),
        latency=quantization.measure_latency(fp32, int8, mnist.batch[:64]),
        size_bytes=len(int8_bytes),
        fp32_size_bytes=len(fp32_bytes),
    )


def judge_set(
    classifier: Classifier,
    part: LabelledBatch,
    policy: Policy,
    *,
    champion: Classifier | None = None,
) -> SetResult:
    """Evaluate one labelled set."""
    reads = read(classifier, part, policy.temperature)
    accuracy = numbers.Proportion(len(part), int(reads.right.sum()))
    low, high = accuracy.interval
    accepted = (reads.confidence >= policy.threshold) & (reads.garbage <= policy.garbage_threshold)
    curve = numbers.risk_coverage(reads.confidence, reads.right)
    theirs = read(champion, part, 1.0).right if champion else None
    return SetResult(
        num=len(part),
        accuracy=accuracy.value,
        accuracy_low=low,
        accuracy_high=high,
        accuracy_by_class=tuple(
            float(reads.right[reads.labels == digit].mean()) if digit in reads.labels else 1.0
            for digit in range(10)
        ),
        ece=numbers.reliability(reads.confidence, reads.right).ece,
        accepted_frac=float(accepted.mean()),
        accepted_error_frac=float((~reads.right[accepted]).mean()) if accepted.any() else 0.0,
        coverage_at_default_target=numbers.coverage_at(curve, numbers.DEFAULT_ERROR_TARGET),
        champion_accuracy=float(theirs.mean()) if theirs is not None else None,
        mcnemar_p=numbers.mcnemar(reads.right, theirs) if theirs is not None else None,
    )


def judge_garbage(classifier: Classifier, suites: Suites, policy: Policy) -> GarbageResult | None:
    """Evaluate the garbage head by kind of garbage; None for a network without one."""
    digits = read(classifier, suites.tests["rendered"], policy.temperature)
    if np.isneginf(digits.garbage).all():
        return None
    refused, accepted = {}, {}
    scores, confidences = [], []
    for kind, batch in suites.garbage.items():
        logits, garbage = score(classifier, batch)
        confidence = softmax(logits, policy.temperature).max(1)
        passed = garbage <= policy.garbage_threshold
        refused[kind] = float((~passed).mean())
        accepted[kind] = float((passed & (confidence >= policy.threshold)).mean())
        scores.append(garbage)
        confidences.append(confidence)
    garbage_scores = np.concatenate(scores)
    return GarbageResult(
        auroc=numbers.auroc(garbage_scores, digits.garbage),
        fpr_at_95_tpr=numbers.false_positive_rate(
            garbage_scores, digits.garbage, true_positive_rate=0.95
        ),
        max_softmax_auroc=numbers.auroc(-np.concatenate(confidences), -digits.confidence),
        refused_frac=refused,
        accepted_frac=accepted,
    )
