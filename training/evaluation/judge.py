"""Evaluate a quantised model on every set: accuracy, confidence, refusal, int8 against fp32.

Pure given the suites, apart from the clock that measures latency. Temperature and garbage threshold
are fitted on validation, the accept thresholds on the holdout, whose writers nothing else has seen;
the test sets only give results. Knows nothing about files or promotion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract import costs
from model.classifier import Classifier, Scores
from model.decision import Policy, softmax
from training import quantization
from training.evaluation import confidence as numbers
from training.evaluation import harm, thresholds
from training.evaluation.harm import HarmResult
from training.evaluation.mail import MailResult
from training.evaluation.suites import ORDINARY_SEVERITY, LabelledBatch, PolicySets, Suites
from training.evaluation.thresholds import Threshold

# Of the clean validation digits, refused by the garbage head. Nearly all of them have a confidence
# below the threshold anyway: champion 6 accepts 95.5 % of clean test digits with this and 95.6 with
# 0.2 % refused, and the mean harm of damage that training has not seen falls from 4.4 to 3.7 %.
CLEAN_REFUSED_FRAC = 0.04
SCORING_BATCH = 512
Scorer = Callable[[NDArray[np.float32]], Scores]  # a Classifier, or a network in torch


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
    num_accepted: int  # by the default threshold and the garbage head
    num_wrong: int  # of the accepted
    coverage_at_default_target: float  # largest share of this set with at most that error
    champion_accuracy: float | None  # on the same crops, like the next two
    num_lost: int | None  # crops that only the champion reads right
    num_won: int | None  # crops that only the candidate reads right

    @property
    def accepted_frac(self) -> float:
        """Share accepted."""
        return self.num_accepted / self.num

    @property
    def accepted_error_frac(self) -> float:
        """Share of wrong reads among the accepted; 0 where none is accepted."""
        return self.num_wrong / max(1, self.num_accepted)

    @property
    def accepted_error_interval(self) -> tuple[float, float]:
        """95 % Clopper-Pearson interval of `accepted_error_frac`."""
        return thresholds.interval(self.num_wrong, self.num_accepted)

    @property
    def mcnemar_p(self) -> float | None:
        """Chance of such a difference, either way, between two equally good readers."""
        if self.num_lost is None or self.num_won is None:
            return None
        return numbers.mcnemar_p(self.num_lost, self.num_won)

    @property
    def euros_per_million(self) -> float:
        """Cost of a million such reads; see `contract.costs`."""
        wrong = self.num_wrong / self.num
        return costs.DEFAULT.euros_per_million(1 - self.accepted_frac, wrong)


@dataclass(frozen=True, slots=True)
class GarbageResult:
    """How well the garbage head separates garbage from rendered digits."""

    auroc: float
    fpr_at_95_tpr: float
    max_softmax_auroc: float  # of the confidence alone
    refused_frac: Mapping[str, float]  # by kind, at the manifest's threshold
    accepted_frac: Mapping[str, float]  # by kind, past head and confidence


@dataclass(frozen=True, slots=True)
class Judged:
    """What was judged on what, so that a verdict holds for nothing else."""

    candidate_sha256: str  # of the int8 model's file
    champion_sha256: str | None  # None: there was no champion to compare with
    train_fonts: tuple[str, ...]  # families of the printed digits in training
    held_out_fonts: tuple[str, ...]  # families of the set `held_out_fonts`
    data: Mapping[str, str]  # MNIST's files and each set, name -> "md5:..." or "sha256:..."


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that the gate, the manifest and the model card need."""

    sets: Mapping[str, SetResult]
    corruptions: Mapping[str, Mapping[str, float]]  # name -> severity -> accuracy
    mean_corruption_accuracy: float  # at severity 3
    temperature: float
    thresholds: tuple[Threshold, ...]
    garbage_threshold: float
    garbage: GarbageResult | None
    quantisation: quantization.QuantisationChange  # on the MNIST test set
    rendered_quantisation: quantization.QuantisationChange
    latency: quantization.Latency
    size_bytes: int
    fp32_size_bytes: int
    harm: tuple[HarmResult, ...] = ()  # damaged crops; the gate refuses an evaluation without
    judged: Judged | None = None  # the files and data; the gate refuses an evaluation without
    mail: tuple[MailResult, ...] = ()  # the office's test share, where there is one


def read(classifier: Scorer, part: LabelledBatch, temperature: float) -> Reads:
    """Score one set."""
    logits, garbage = score(classifier, part.batch)
    return Reads(part.labels, logits, garbage, softmax(logits, temperature).max(1))


def score(
    classifier: Scorer, batch: NDArray[np.float32]
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
    classifier: Scorer, sets: PolicySets, *, earlier_threshold: float | None = None
) -> tuple[Policy, tuple[thresholds.Threshold, ...]]:
    """Fit temperature and garbage threshold on validation, then the thresholds on the holdout.

    Args:
        classifier: the model.
        sets: what it is fitted on.
        earlier_threshold: the champion's, which stays where the holdout shows the error target at
            it: the chosen one varies by a point of confidence between two fits of one recipe.

    Raises:
        ValueError: no threshold shows the default error target.
    """
    logits, garbage = score(classifier, sets.validation.batch)
    labels = sets.validation.labels
    temperature = numbers.fit_temperature(logits, labels)
    garbage_threshold = 0.0  # unused by a network without a garbage head
    if np.isfinite(garbage).all():
        clean = garbage[sets.validation_is_clean]
        garbage_threshold = float(np.quantile(clean, 1 - CLEAN_REFUSED_FRAC))
    held_out = read(classifier, sets.holdout, temperature)
    found = thresholds.choose_thresholds(
        held_out.confidence,
        held_out.right,
        held_out.garbage <= garbage_threshold,
        targets=thresholds.ERROR_TARGETS,
    )
    by_target = {row.error_target: row.threshold for row in found}
    if thresholds.DEFAULT_ERROR_TARGET not in by_target:
        raise ValueError(
            f"{len(sets.holdout)} held-out digits show at no confidence threshold that at most"
            f" {thresholds.DEFAULT_ERROR_TARGET:.1%} of accepted reads are wrong; the model is not"
            " fit for use"
        )
    default = by_target[thresholds.DEFAULT_ERROR_TARGET]
    if earlier_threshold is not None and thresholds.holds(
        earlier_threshold,
        held_out.confidence,
        held_out.right,
        held_out.garbage <= garbage_threshold,
    ):
        default = earlier_threshold
        found = thresholds.with_default(found, default)
    return Policy(temperature, default, garbage_threshold), found


def evaluate(
    fp32_bytes: bytes,
    int8_bytes: bytes,
    suites: Suites,
    *,
    champion: Classifier | None = None,
    refine: Callable[[Scorer, Policy], Policy] | None = None,
    earlier_threshold: float | None = None,
) -> Evaluation:
    """Evaluate a candidate.

    Args:
        fp32_bytes: the exact ONNX model.
        int8_bytes: the quantised one, which would be served.
        suites: the sets.
        champion: the current model, which reads the same crops for comparison.
        refine: an office's own policy, from the model's; None leaves that.
        earlier_threshold: see `fit_policy`.
    """
    fp32, int8 = Classifier(fp32_bytes), Classifier(int8_bytes)
    policy, found = fit_policy(int8, suites.policy, earlier_threshold=earlier_threshold)
    if refine is not None:
        policy = refine(int8, policy)
        found = thresholds.with_default(found, policy.threshold)
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
        thresholds=found,
        garbage_threshold=policy.garbage_threshold,
        garbage=judge_garbage(int8, suites, policy),
        harm=harm.judge(int8, suites.harm, policy),
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
        num_accepted=int(accepted.sum()),
        num_wrong=int((accepted & ~reads.right).sum()),
        coverage_at_default_target=numbers.coverage_at(curve, thresholds.DEFAULT_ERROR_TARGET),
        champion_accuracy=float(theirs.mean()) if theirs is not None else None,
        num_lost=int((theirs & ~reads.right).sum()) if theirs is not None else None,
        num_won=int((reads.right & ~theirs).sum()) if theirs is not None else None,
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
