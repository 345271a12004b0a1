"""Three ways to run a reader for a year: never retrained, without checks, as Digitline does.

Each arm keeps a network, a policy and the labels that it has got. Pure but for torch.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from model.classifier import Scores
from model.decision import Policy, softmax
from training import adapting
from training.adapting import AdaptConfig, Mail, Replay
from training.data.datasets import LabelledImages
from training.evaluation import confidence, judge, office_policy
from training.evaluation.office_policy import Scored
from training.evaluation.suites import PolicySets
from training.evaluation.thresholds import DEFAULT_ERROR_TARGET, Threshold
from training.studies.year_keying import Keyed

logger = logging.getLogger(__name__)

TEST_FRAC = 0.2  # of the labels: the frozen test share
MAX_COVERAGE_LOSS = 0.005  # points of the month's mail that a candidate may accept less
REFUSED_BY_CHANCE = 0.02  # an equal candidate is refused by one of the comparisons so often


@dataclass(frozen=True, slots=True)
class Bench:
    """What every arm and month is measured and fitted with."""

    network: nn.Module  # the champion that the year begins with
    policy: Policy
    replay: Replay
    policy_sets: PolicySets
    damaged: LabelledImages  # damaged validation digits; labels are digits, or GARBAGE_LABEL
    champion_harm: float  # share of `damaged` that it accepts and reads wrongly
    guarded: dict[str, LabelledImages]  # sets on which nothing may be forgotten
    config: AdaptConfig


@dataclass(frozen=True, slots=True)
class Labels:
    """What people have keyed so far."""

    rows: NDArray[np.intp]  # of the year's mail
    labels: NDArray[np.uint8]
    who: NDArray[np.str_]
    weights: NDArray[np.float64]  # reads that each stands for

    @classmethod
    def of(cls, keyed: Keyed) -> Labels:
        """One month's."""
        return cls(keyed.rows, keyed.labels, keyed.who, keyed.weights)

    def take(self, rows: NDArray[np.bool_]) -> Labels:
        """The chosen ones."""
        return Labels(self.rows[rows], self.labels[rows], self.who[rows], self.weights[rows])

    def __add__(self, other: Labels) -> Labels:
        return Labels(
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.who, other.who]),
            np.concatenate([self.weights, other.weights]),
        )


NO_LABELS = Labels(
    np.zeros(0, np.intp), np.zeros(0, np.uint8), np.zeros(0, np.str_), np.zeros(0, np.float64)
)


@dataclass(slots=True)
class Arm:
    """One reader through the year."""

    network: nn.Module
    policy: Policy
    labels: Labels = field(default=NO_LABELS)
    thresholds: tuple[Threshold, ...] = ()

    def read(self, images: NDArray[np.uint8]) -> tuple[Scored, NDArray[np.bool_]]:
        """Read crops; which are accepted."""
        scored = score(self.network, images, np.zeros(len(images), np.uint8))
        return scored, scored.accepted(self.policy)


def score(network: nn.Module, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Scored:
    """Read labelled images, each standing for itself."""
    logits, garbage = adapting.read(network, images)
    return Scored(logits, garbage, labels.astype(np.int64), np.ones(len(labels)))


def retrain_unchecked(
    arm: Arm, bench: Bench, images: NDArray[np.uint8], sites: NDArray[np.str_], month: int
) -> str:
    """Go on from the last network with all labels, and serve what comes out."""
    mail = mail_of(arm.labels, images, sites)
    config = replace(bench.config, seed=bench.config.seed + 100 * month)
    arm.network = adapting.go_on(arm.network, mail, bench.replay, config)
    fitted = fit_standard(arm.network, bench.policy_sets, None)
    if fitted is None:
        return "no threshold shows the error target; the last one stays"
    arm.policy, arm.thresholds = fitted
    return f"retrained with {len(mail)} labels"


def retrain_checked(
    arm: Arm,
    bench: Bench,
    images: NDArray[np.uint8],
    sites: NDArray[np.str_],
    month: int,
    kept: NDArray[np.bool_],
    recent: NDArray[np.intp],
) -> str:
    """Go on with the labels that validation keeps; serve the result if the gate passes it.

    Args:
        arm: Digitline's.
        bench: sets, replay and recipe.
        images: (N, 28, 28) of the year.
        sites: (N,) of the year.
        month: for the seed.
        kept: which of the arm's labels validation keeps.
        recent: the month's mail, labelled or not, on which coverage is compared.
    """
    is_test = in_test_share(arm.labels.rows)
    train, test = arm.labels.take(kept & ~is_test), arm.labels.take(kept & is_test)
    mail = mail_of(train, images, sites)
    config = replace(bench.config, seed=bench.config.seed + 100 * month)
    adapted = adapting.adapt(arm.network, mail, bench.replay, config)
    fitted = fit_standard(adapted.network, bench.policy_sets, arm.policy.threshold)
    if fitted is None:
        return "refused: no threshold shows the error target"
    standard, found = fitted
    unseen = score(adapted.network, images[test.rows], test.labels)
    evidence = Scored(
        np.concatenate([adapted.logits, unseen.logits]),
        np.concatenate([adapted.garbage, unseen.garbage]),
        np.concatenate([train.labels, test.labels]).astype(np.int64),
        np.concatenate([train.weights, test.weights]),
    )
    policy = office_policy.choose(
        standard,
        evidence,
        score(adapted.network, bench.damaged.images, bench.damaged.labels),
        champion_harm=bench.champion_harm,
        error_target=DEFAULT_ERROR_TARGET,
    )
    refused = gate(arm, adapted.network, policy, bench, images, test, recent)
    if refused:
        return f"refused: {'; '.join(refused)}"
    arm.network, arm.policy, arm.thresholds = adapted.network, policy, found
    return f"promoted with {len(mail)} labels"


def mail_of(labels: Labels, images: NDArray[np.uint8], sites: NDArray[np.str_]) -> Mail:
    """Labels with their images; each crop is a letter of its own."""
    rows = labels.rows
    return Mail(images[rows], labels.labels, sites[rows], rows.astype(str))


def in_test_share(rows: NDArray[np.intp]) -> NDArray[np.bool_]:
    """The frozen test share: a crop once in it is in it for ever."""
    drawn = np.random.default_rng(97).random(int(rows.max(initial=0)) + 1)
    chosen: NDArray[np.bool_] = drawn[rows] < TEST_FRAC
    return chosen


def fit_standard(
    network: nn.Module, sets: PolicySets, earlier_threshold: float | None
) -> tuple[Policy, tuple[Threshold, ...]] | None:
    """The model's own policy; None where it reaches the error target at no threshold."""

    def scores(batch: NDArray[np.float32]) -> Scores:
        return Scores(*adapting.read(network, np.rint(batch[:, 0] * 255).astype(np.uint8)))

    try:
        return judge.fit_policy(scores, sets, earlier_threshold=earlier_threshold)
    except ValueError:
        return None


def gate(
    arm: Arm,
    network: nn.Module,
    policy: Policy,
    bench: Bench,
    images: NDArray[np.uint8],
    test: Labels,
    recent: NDArray[np.intp],
) -> list[str]:
    """Why a candidate is refused: it reads worse than the champion, or accepts less."""
    sets = {"mail": LabelledImages(images[test.rows], test.labels), **bench.guarded}
    reasons = []
    for name, part in sets.items():
        champion = score(arm.network, part.images, part.labels).wrong
        candidate = score(network, part.images, part.labels).wrong
        lost, won = int((~champion & candidate).sum()), int((champion & ~candidate).sum())
        p = confidence.mcnemar_p(lost, won, alternative="greater")
        if p < REFUSED_BY_CHANCE / len(sets):
            reasons.append(f"{name}: loses {lost} crops and wins {won}")
    before = float(arm.read(images[recent])[1].mean())
    after = float(Arm(network, policy).read(images[recent])[1].mean())
    if after < before - MAX_COVERAGE_LOSS:
        reasons.append(f"mail: accepts {after:.1%}, the champion {before:.1%}")
    return reasons


def probabilities(scored: Scored, policy: Policy) -> NDArray[np.float64]:
    """(N, 10) of a reader, for validation."""
    return softmax(scored.logits, policy.temperature)
