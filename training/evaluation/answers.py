"""A model's answers to every crop of the test sets, kept so that runs can be compared crop by crop.

Edge: reads and writes one .npz file. Knows nothing about how runs are compared.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.classifier import Classifier
from model.decision import Policy
from training.evaluation import judge
from training.evaluation.suites import LabelledBatch


@dataclass(frozen=True, slots=True)
class SetAnswers:
    """The answers to one set, in its order; images only of what was read wrong."""

    labels: NDArray[np.uint8]  # (N,)
    digits: NDArray[np.uint8]  # (N,)
    confidence: NDArray[np.float32]  # (N,) after temperature
    garbage: NDArray[np.float32]  # (N,)
    accepted: NDArray[np.bool_]  # (N,) by the run's own thresholds
    wrong_images: NDArray[np.uint8]  # (W, 28, 28), ink bright, of the rows that are wrong
    crops: NDArray[np.str_]  # sha256 of the set's images and labels: which crops these are

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which answers are the label."""
        same: NDArray[np.bool_] = self.digits == self.labels
        return same


def answer_all(
    classifier: Classifier, sets: Mapping[str, LabelledBatch], policy: Policy
) -> dict[str, SetAnswers]:
    """Read every set."""
    return {name: _answer(classifier, part, policy) for name, part in sets.items()}


def _answer(classifier: Classifier, part: LabelledBatch, policy: Policy) -> SetAnswers:
    reads = judge.read(classifier, part, policy.temperature)
    digest = hashlib.sha256(part.batch.tobytes() + part.labels.tobytes()).hexdigest()
    wrong = part.batch[~reads.right, 0]
    return SetAnswers(
        labels=part.labels,
        digits=reads.digits.astype(np.uint8),
        confidence=reads.confidence.astype(np.float32),
        garbage=reads.garbage.astype(np.float32),
        accepted=(reads.confidence >= policy.threshold)
        & (reads.garbage <= policy.garbage_threshold),
        wrong_images=np.rint(wrong * 255).astype(np.uint8),
        crops=np.array(digest),
    )


def save_answers(path: Path, answers: Mapping[str, SetAnswers]) -> None:
    """Write the file; members are SET/FIELD."""
    members = {
        f"{name}/{field.name}": getattr(part, field.name)
        for name, part in answers.items()
        for field in fields(part)
    }
    np.savez_compressed(path, **members)


def load_answers(path: Path) -> dict[str, SetAnswers]:
    """Read the file.

    Raises:
        ValueError: it is damaged or of another version; the message says what to do.
    """
    try:
        # Opened here: np.load leaves the file of a damaged archive open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            names = dict.fromkeys(member.rpartition("/")[0] for member in saved.files)
            return {
                name: SetAnswers(
                    **{field.name: saved[f"{name}/{field.name}"] for field in fields(SetAnswers)}
                )
                for name in names
            }
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} holds no answers ({error}); run `evaluate` again") from error
