"""Harm: crops of damaged mail that are accepted and wrong, as a share of all that were posted.

Pure. Knows nothing about files or promotion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.classifier import Classifier
from model.decision import Policy, softmax
from training.data import render
from training.data.corruptions import Crop, to_crop
from training.data.datasets import LabelledImages
from training.data.render import GARBAGE_LABEL
from training.data.scanner import Scanner, scan
from training.data.warp import geometry, warp
from training.evaluation.harm_kinds import HELD_OUT, KINDS, NO_DIGIT

MAX_SEVERITY = 3
NUM_WRITTEN, NUM_PRINTED = 240, 60  # crops of each kind and severity
PLAIN = Scanner(
    height_px=(28, 56),
    margin_frac=(0.1, 0.3),
    clip_prob=0,
    neighbour_prob=0,
    light_on_dark_prob=0,
    num_corruptions=(0, 0),
)
SCORING_BATCH = 512


@dataclass(frozen=True, slots=True)
class DamagedSet:
    """Damaged crops as the model sees them."""

    batch: NDArray[np.float32]  # (N, 1, 28, 28); black where the crop is blank
    labels: NDArray[np.uint8]  # GARBAGE_LABEL where there is not exactly one digit
    blank: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class HarmResult:
    """What became of the crops with one kind of damage."""

    kind: str
    severity: int  # 1 to 3
    seen: bool  # training and the thresholds see this kind; the others are held out
    num: int  # crops posted
    num_accepted: int
    num_wrong: int  # accepted with another digit than the label, or where there is no digit

    @property
    def harm_frac(self) -> float:
        """Accepted and wrong, of all posted."""
        return self.num_wrong / self.num


@dataclass(frozen=True, slots=True)
class KindHarm:
    """One kind of damage over its severities, for card and report."""

    kind: str
    seen: bool
    num: int
    num_accepted: int
    num_wrong: int

    @property
    def harm_frac(self) -> float:
        """Accepted and wrong, of all posted."""
        return self.num_wrong / self.num

    @property
    def accepted_frac(self) -> float:
        """Accepted, of all posted."""
        return self.num_accepted / self.num


def table(results: Sequence[HarmResult]) -> list[KindHarm]:
    """The kinds in words, worst first."""
    kinds: dict[tuple[str, bool], list[HarmResult]] = {}
    for row in results:
        kinds.setdefault((row.kind, row.seen), []).append(row)
    found = [
        KindHarm(
            kind.replace("_", " "),
            seen,
            num=sum(row.num for row in rows),
            num_accepted=sum(row.num_accepted for row in rows),
            num_wrong=sum(row.num_wrong for row in rows),
        )
        for (kind, seen), rows in kinds.items()
    ]
    return sorted(found, key=lambda row: -row.harm_frac)


def by_kind(results: Sequence[HarmResult], *, seen: bool) -> dict[str, float]:
    """Harm of each kind, over its severities."""
    kinds = dict.fromkeys(row.kind for row in results if row.seen == seen)
    return {
        kind: sum(row.num_wrong for row in results if row.kind == kind)
        / sum(row.num for row in results if row.kind == kind)
        for kind in kinds
    }


def draw(
    written: LabelledImages,
    printed: LabelledImages | None,
    letters: NDArray[np.uint8] | None,
    *,
    seed: int,
) -> dict[tuple[str, int], DamagedSet]:
    """Draw crops with each kind of damage at each severity.

    Args:
        written: digits that training has not seen.
        printed: digits of fonts that training has not seen.
        letters: (N, S, S) uint8 characters that are no digits; None leaves that kind out.
        seed: same seed, same crops.
    """
    sets = {}
    for position, kind in enumerate(KINDS):
        if kind == "letter" and letters is None:
            continue
        for severity in range(1, MAX_SEVERITY + 1):
            rng = np.random.default_rng([seed, position, severity])
            digits = _pick(written, printed, rng)
            images = digits.images
            if kind == "letter":
                assert letters is not None
                images = [letters[row] for row in rng.integers(len(letters), size=len(images))]
            crops = [_scan(image, severity if kind == "letter" else 0, rng) for image in images]
            damaged = [
                KINDS[kind](crop, severity, crops[(row + 1) % len(crops)], rng)
                for row, crop in enumerate(crops)
            ]
            labels = digits.labels
            if kind in NO_DIGIT:
                labels = np.full(len(labels), GARBAGE_LABEL, np.uint8)
            batch, blank = render.frame_all([_to_bytes(crop, rng) for crop in damaged])
            sets[kind, severity] = DamagedSet(batch, labels, blank)
    return sets


@dataclass(frozen=True, slots=True)
class _Digits:
    """Written and printed digits, of any resolution."""

    images: list[NDArray[np.uint8]]
    labels: NDArray[np.uint8]


def _pick(
    written: LabelledImages, printed: LabelledImages | None, rng: np.random.Generator
) -> _Digits:
    parts = [written.take(rng.choice(len(written), min(NUM_WRITTEN, len(written)), replace=False))]
    if printed is not None:
        parts.append(printed.take(rng.choice(len(printed), min(NUM_PRINTED, len(printed)))))
    return _Digits(
        [image for part in parts for image in part.images],
        np.concatenate([part.labels for part in parts]),
    )


def _scan(image: NDArray[np.uint8], severity: float, rng: np.random.Generator) -> Crop:
    canvas = warp(image[np.newaxis], geometry(severity), rng)[0]
    return to_crop(scan(canvas, PLAIN, rng) / 255)


def _to_bytes(crop: Crop, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A tenth of the scanners send light ink on dark paper."""
    crop = 1 - crop if rng.random() < 0.1 else crop
    grey: NDArray[np.uint8] = np.rint(np.clip(crop, 0, 1) * 255).astype(np.uint8)
    return grey


def judge(
    classifier: Classifier, sets: Mapping[tuple[str, int], DamagedSet], policy: Policy
) -> tuple[HarmResult, ...]:
    """Read every set and count what is accepted and what of it is wrong."""
    results = []
    for (kind, severity), part in sets.items():
        digits, is_accepted = _read(classifier, part, policy)
        results.append(
            HarmResult(
                kind=kind,
                severity=severity,
                seen=kind not in HELD_OUT,
                num=len(part.labels),
                num_accepted=int(is_accepted.sum()),
                num_wrong=int((is_accepted & (digits != part.labels)).sum()),
            )
        )
    return tuple(results)


def wrong_reads(
    classifier: Classifier, part: DamagedSet, policy: Policy
) -> list[tuple[NDArray[np.float32], int, int]]:
    """The (28, 28) image, label and answer of each crop that is accepted and wrong."""
    digits, is_accepted = _read(classifier, part, policy)
    rows = np.flatnonzero(is_accepted & (digits != part.labels))
    return [(part.batch[row, 0], int(part.labels[row]), int(digits[row])) for row in rows]


def _read(
    classifier: Classifier, part: DamagedSet, policy: Policy
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Answers (N,) and whether each is accepted, by the rules of `model.decision`."""
    digits = np.zeros(len(part.labels), np.intp)
    is_accepted = np.zeros(len(part.labels), np.bool_)
    for start in range(0, len(part.labels), SCORING_BATCH):
        rows = slice(start, start + SCORING_BATCH)
        scores = classifier(part.batch[rows])
        probs = softmax(scores.logits, policy.temperature)
        digits[rows] = probs.argmax(1)
        is_accepted[rows] = (probs.max(1) >= policy.threshold) & (
            scores.garbage <= policy.garbage_threshold
        )
    return digits, is_accepted & ~part.blank
