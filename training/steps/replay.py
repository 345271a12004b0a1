"""Command `replay`: candidate against champion on captured mail.

Only the crops that the two answer differently go to people; their labels decide which is better.
Edge: reads the archive, writes a CSV file of the differences and a picture of them.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from capture.answered import Answered, read_answered
from capture.labels import read_labels
from capture.store import Store
from model import artifact
from model.classifier import Classifier
from model.decision import Decision, Policy, decide
from training.config import Workspace
from training.evaluation.pictures import differences
from training.evaluation.sequential import Standing
from training.evaluation.thresholds import DEFAULT_ERROR_TARGET
from training.step_error import StepError
from training.steps.files import load_evaluation

logger = logging.getLogger(__name__)

BATCH = 512
COLUMNS = ("site", "time", "read_id", "request_id", "crop_index")


@dataclass(frozen=True, slots=True)
class Reader:
    """A model with its rule of acceptance."""

    classifier: Classifier
    policy: Policy

    def __call__(self, answered: list[Answered]) -> list[Decision]:
        """Read the images that were captured."""
        images = np.stack([one.image for one in answered])[:, None].astype(np.float32)
        return decide(self.classifier(images / np.float32(255)), self.policy)


@dataclass(frozen=True, slots=True)
class Difference:
    """A crop that the two answer differently."""

    crop: Answered
    champion: Decision
    candidate: Decision
    label: int | None  # None until somebody keys it


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of the captured mail."""

    num_read: int
    num_accepted: tuple[int, int]  # by the champion, by the candidate
    differences: tuple[Difference, ...]

    @property
    def standing(self) -> Standing:
        """What the labels of the different digits decide so far."""
        right = [
            (one.champion.digit == one.label, one.candidate.digit == one.label)
            for one in self.differences
            if one.label is not None
        ]
        return Standing(right.count((True, False)), right.count((False, True)))

    def __str__(self) -> str:
        """What was read, and how far the labels decide."""
        champion, candidate = self.num_accepted
        num_open = sum(one.label is None for one in self.differences)
        return (
            f"{self.num_read} captured crops: the champion accepts {champion}, the candidate"
            f" {candidate}\n{len(self.differences)} are read as different digits, {num_open} of"
            f" them without a label\n{self.standing}"
        )


def run(
    candidate: Path, champion: Path, store: Store, *, days: int, listing: Path, picture: Path
) -> Replayed:
    """Read the mail of the last days with both models.

    Args:
        candidate: a work folder that has been evaluated, or a champion folder.
        champion: the folder of the served model.
        store: with the archive of captures.
        days: how far to go back.
        listing: CSV file of the differences to write, for the people who key.
        picture: of the differences, most confident first.

    Raises:
        StepError: the candidate cannot be read, or the archive.
    """
    served = artifact.load(champion)
    first = Reader(Classifier(served.onnx_bytes), served.policy())
    second = _load(candidate)
    since = datetime.now(UTC) - timedelta(days)
    num_read, num_accepted = 0, [0, 0]
    found: list[Difference] = []
    try:
        labels = _labels(store)
        for part in read_answered(store, since):
            for start in range(0, len(part), BATCH):
                some = part[start : start + BATCH]
                old, new = first(some), second(some)
                num_read += len(some)
                num_accepted[0] += sum(one.accepted for one in old)
                num_accepted[1] += sum(one.accepted for one in new)
                found += _different(some, old, new, labels)
    except (OSError, ValueError) as error:  # a StoreError is an OSError; Arrow's are either
        raise StepError(f"cannot read the archive: {error}") from error
    found.sort(key=lambda one: -max(one.champion.confidence, one.candidate.confidence))
    _write(found, listing)
    if found:
        picture.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            (one.crop.image, one.label, one.champion.digit, one.candidate.digit) for one in found
        ]
        picture.write_bytes(differences(rows))
        logger.info("the differences are in %s and %s", listing, picture)
    return Replayed(num_read, (num_accepted[0], num_accepted[1]), tuple(found))


def _different(
    crops: list[Answered],
    old: list[Decision],
    new: list[Decision],
    labels: Mapping[tuple[str, int], int],
) -> list[Difference]:
    return [
        Difference(crop, champion, candidate, labels.get((crop.read_id, crop.crop_index)))
        for crop, champion, candidate in zip(crops, old, new, strict=True)
        if champion.digit != candidate.digit
    ]


def _load(candidate: Path) -> Reader:
    """The reader of a champion folder, or of a work folder after `evaluate`."""
    if (candidate / "manifest.json").exists():
        kept = artifact.load(candidate)
        return Reader(Classifier(kept.onnx_bytes), kept.policy())
    work = Workspace(candidate)
    evaluation = load_evaluation(work)
    threshold = next(
        (
            row.threshold
            for row in evaluation.thresholds
            if row.error_target == DEFAULT_ERROR_TARGET
        ),
        None,
    )
    if threshold is None:
        raise StepError(f"{candidate} reaches no error of {DEFAULT_ERROR_TARGET:.1%}")
    policy = Policy(evaluation.temperature, threshold, evaluation.garbage_threshold)
    return Reader(Classifier(work.int8.read_bytes()), policy)


def _labels(store: Store) -> dict[tuple[str, int], int]:
    """The digits that people keyed, by read id and crop index."""
    labels = read_labels(store)
    return {
        (row["read_id"], int(row["crop_index"])): int(row["label"])
        for row in labels.to_dict("records")
        if str(row["label"]).isdigit()
    }


def _write(found: list[Difference], listing: Path) -> None:
    with listing.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow((*COLUMNS, "champion", "candidate", "label"))
        for one in found:
            key = (getattr(one.crop, name) for name in COLUMNS)
            writer.writerow((*key, one.champion.digit, one.candidate.digit, one.label))
