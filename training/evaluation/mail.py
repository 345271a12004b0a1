"""A candidate and the champion on the frozen test share of an office's mail. Pure.

Rejects and audits are no fair sample of the mail, so each crop counts as the reads that it stands
for: 1 for a reject, all of which are keyed, and 1 / audit share for an audited read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.decision import Policy
from training.evaluation.office_policy import Scored

ALL_SITES = "all"
NUM_FLIPS = 10_000
Strings = NDArray[np.str_]


class Judged:
    """What a model makes of some labelled crops.

    Args:
        scored: crops with their labels and the reads that each stands for.
        policy: of the model.
    """

    def __init__(self, scored: Scored, policy: Policy) -> None:
        self.weights = scored.weights
        self.right = ~scored.wrong
        self.accepted = scored.accepted(policy)


@dataclass(frozen=True, slots=True)
class MailResult:
    """Both models on one site's labelled mail; shares are weighted."""

    site: str  # ALL_SITES: of all
    num: int  # labels
    accuracy: float
    champion_accuracy: float
    accepted_frac: float
    champion_accepted_frac: float
    wrong_frac: float  # of the accepted
    champion_wrong_frac: float
    loss_p: float  # chance of losing so many right reads, were both as good
    wrong_p: float  # the same of accepting so many more wrong reads


def judge_mail(candidate: Judged, champion: Judged, sites: Strings) -> tuple[MailResult, ...]:
    """Compare both on the test share; all sites together first, then each one.

    Args:
        candidate: the test share as it reads it.
        champion: the same crops.
        sites: (N,) of the crops.
    """
    if not len(sites):
        return ()
    names = [ALL_SITES, *sorted(set(sites.tolist()))]
    rows = [np.ones(len(sites), np.bool_), *(sites == name for name in names[1:])]
    return tuple(
        _result(name, chosen, candidate, champion) for name, chosen in zip(names, rows, strict=True)
    )


def _result(site: str, rows: NDArray[np.bool_], new: Judged, old: Judged) -> MailResult:
    weights = new.weights[rows]
    return MailResult(
        site,
        num=int(rows.sum()),
        accuracy=_share(new.right[rows], weights),
        champion_accuracy=_share(old.right[rows], weights),
        accepted_frac=_share(new.accepted[rows], weights),
        champion_accepted_frac=_share(old.accepted[rows], weights),
        wrong_frac=_wrong_of_accepted(new, rows),
        champion_wrong_frac=_wrong_of_accepted(old, rows),
        loss_p=sign_flip_p(old.right[rows], new.right[rows], weights),
        wrong_p=sign_flip_p(
            (new.accepted & ~new.right)[rows], (old.accepted & ~old.right)[rows], weights
        ),
    )


def _share(chosen: NDArray[np.bool_], weights: NDArray[np.float64]) -> float:
    return float(weights[chosen].sum() / weights.sum())


def _wrong_of_accepted(answers: Judged, rows: NDArray[np.bool_]) -> float:
    accepted = rows & answers.accepted
    total = float(answers.weights[accepted].sum())
    return float(answers.weights[accepted & ~answers.right].sum()) / total if total else 0.0


def sign_flip_p(
    first: NDArray[np.bool_], second: NDArray[np.bool_], weights: NDArray[np.float64]
) -> float:
    """Chance that weighted `first` exceeds `second` by so much, were they exchangeable.

    With equal weights this is McNemar's exact test.

    Source:
        Fisher, "The design of experiments", 1935, section 21 (randomization test of pairs).
    """
    differences = (first.astype(float) - second.astype(float)) * weights
    differences = differences[differences != 0]
    if not len(differences):
        return 1.0
    signs = np.random.default_rng(0).choice((-1.0, 1.0), (NUM_FLIPS, len(differences)))
    sums = signs @ np.abs(differences)
    num_as_large = int((sums >= differences.sum() - 1e-9).sum())
    return (1 + num_as_large) / (1 + NUM_FLIPS)
