"""What `evaluate` needs of an office's mail: thresholds from its labels, the test share compared.

Edge: reads what `adapt` wrote.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model import artifact
from model.classifier import Classifier
from model.decision import Policy
from training.config import Workspace
from training.data.render import DAMAGED
from training.evaluation import judge, office_policy
from training.evaluation.mail import Judged, MailResult, judge_mail
from training.evaluation.office_policy import Scored
from training.evaluation.thresholds import DEFAULT_ERROR_TARGET
from training.steps.files import network_input


@dataclass(frozen=True, slots=True)
class MailEvidence:
    """One retraining's mail."""

    train: Scored  # read by networks that had not seen it
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.uint8]
    test_weights: NDArray[np.float64]
    test_sites: NDArray[np.str_]
    damaged_images: NDArray[np.uint8]
    damaged_labels: NDArray[np.integer]
    champion: Classifier
    champion_policy: Policy

    def refine(self, candidate: judge.Scorer, standard: Policy) -> Policy:
        """The office's policy: as loose as its labels and the champion's harm allow."""
        seen = self._test(candidate)
        mail = Scored(
            np.concatenate([self.train.logits, seen.logits]),
            np.concatenate([self.train.garbage, seen.garbage]),
            np.concatenate([self.train.labels, seen.labels]),
            np.concatenate([self.train.weights, seen.weights]),
        )
        limit = office_policy.harm(self._damaged(self.champion), self.champion_policy)
        return office_policy.choose(
            standard,
            mail,
            self._damaged(candidate),
            champion_harm=limit,
            error_target=DEFAULT_ERROR_TARGET,
        )

    def compare(self, candidate: judge.Scorer, policy: Policy) -> tuple[MailResult, ...]:
        """Candidate and champion on the test share."""
        return judge_mail(
            Judged(self._test(candidate), policy),
            Judged(self._test(self.champion), self.champion_policy),
            self.test_sites,
        )

    def _test(self, reader: judge.Scorer) -> Scored:
        logits, garbage = _score(reader, self.test_images)
        return Scored(logits, garbage, self.test_labels.astype(np.int64), self.test_weights)

    def _damaged(self, reader: judge.Scorer) -> Scored:
        logits, garbage = _score(reader, self.damaged_images)
        labels = self.damaged_labels.astype(np.int64) - DAMAGED
        return Scored(logits, garbage, labels, np.ones(len(labels)))


def _score(
    reader: judge.Scorer, images: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if not len(images):
        return np.zeros((0, 10), np.float32), np.zeros(0, np.float32)
    return judge.score(reader, network_input(images))


def load(work: Workspace, champion: Path) -> MailEvidence | None:
    """Read the evidence; None where the candidate was not fitted on mail."""
    if not work.mail.exists():
        return None
    loaded = artifact.load(champion)
    with np.load(work.mail) as saved:
        train = Scored(
            saved["logits"], saved["garbage"], saved["labels"].astype(np.int64), saved["weights"]
        )
        names = ("images", "labels", "weights", "sites")
        test = {f"test_{name}": saved[f"test_{name}"] for name in names}
        damaged = {f"damaged_{name}": saved[f"damaged_{name}"] for name in ("images", "labels")}
    return MailEvidence(
        train=train,
        **test,
        **damaged,
        champion=Classifier(loaded.onnx_bytes),
        champion_policy=loaded.policy(),
    )
