"""Validate a stored snapshot with the champion's answers.

Edge: reads the data store and the champion folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from capture.snapshot_files import months
from capture.store import Store
from model import artifact
from model.classifier import Classifier
from model.decision import softmax
from training.snapshots.reading import MailSnapshot, read
from training.snapshots.validation import Limits, ValidationReport, validate

_BATCH = 512


@dataclass(frozen=True, slots=True)
class Checked:
    """A snapshot and what validation says of it."""

    snapshot: MailSnapshot
    probs: NDArray[np.float64]  # (N, 10) of the champion, for the training part
    report: ValidationReport


def check(data: Store, as_of: str, champion: Path, limits: Limits) -> Checked:
    """Validate the snapshot of a month against the one before it.

    Raises:
        DataError: there is no snapshot of this month, or it is damaged.
        ArtifactRefused: the champion cannot be loaded.
        StoreError: the store failed.
    """
    snapshot, parent = read(data, as_of), parent_of(data, as_of)
    probs = champion_probs(champion, snapshot.train.images)
    mix = parent.train if parent else None
    report = validate(snapshot.train, snapshot.test, probs, parent=mix, limits=limits)
    return Checked(snapshot, probs, report)


def parent_of(data: Store, as_of: str) -> MailSnapshot | None:
    """The snapshot before a month's; None where it is the first."""
    before = [month for month in months(data) if month < as_of]
    return read(data, before[-1]) if before else None


def champion_probs(champion: Path, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What the served model makes of (N, 28, 28) images: (N, 10).

    Raises:
        ArtifactRefused: the champion cannot be loaded.
    """
    served = artifact.load(champion)
    classifier, temperature = Classifier(served.onnx_bytes), served.policy().temperature
    batch = images[:, None].astype(np.float32) / np.float32(255)
    found = [
        softmax(classifier(batch[start : start + _BATCH]).logits, temperature)
        for start in range(0, len(batch), _BATCH)
    ]
    return np.concatenate(found) if found else np.empty((0, 10))
