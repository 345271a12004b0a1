"""The labelled sets that models are evaluated on, rendered from fixed seeds.

Pure given the data. Every crop passes `model.preprocess`, as in serving. Knows nothing about
models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data import garbage, render
from training.data.corruptions import CORRUPTIONS
from training.data.datasets import LabelledImages, Mnist
from training.data.scanner import corrupt, scan
from training.data.warp import MAX_SEVERITY, geometry, warp
from training.evaluation import harm
from training.evaluation.harm import DamagedSet

SEED = 20261121
HARM_SEED = SEED + 300
ORDINARY_SEVERITY = 3
NUM_ORDINARY = 2000  # digits for each corruption at severity 3; +-0.6 points at 98 %
NUM_OTHER = 500  # at the other severities
NUM_GARBAGE = 500  # of each kind
NUM_RENDERINGS = 4  # of each validation digit
HOLDOUT_CLEAN_SHARE = 3  # one holdout digit in three stays as it is, the others are rendered


@dataclass(frozen=True, slots=True)
class LabelledBatch:
    """A set as the network sees it."""

    batch: NDArray[np.float32]  # (N, 1, 28, 28)
    labels: NDArray[np.uint8]  # (N,)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class PolicySets:
    """The sets that a model's thresholds are fitted on."""

    validation: LabelledBatch  # clean and rendered: temperature and garbage threshold
    validation_is_clean: NDArray[np.bool_]
    holdout: LabelledBatch  # one crop of each digit, clean or rendered: the accept thresholds


@dataclass(frozen=True, slots=True)
class Suites:
    """Every set of one evaluation."""

    policy: PolicySets
    tests: Mapping[str, LabelledBatch]
    corruptions: Mapping[tuple[str, int], LabelledBatch]
    garbage: Mapping[str, NDArray[np.float32]]
    harm: Mapping[tuple[str, int], DamagedSet]  # by kind of damage and severity


def build_suites(
    mnist: Mnist,
    *,
    glyphs: LabelledImages | None,
    letters: NDArray[np.uint8] | None,
    others: Mapping[str, LabelledImages],
) -> Suites:
    """Render every set.

    Args:
        mnist: its validation, holdout and test parts are used.
        glyphs: digits of the held-out fonts.
        letters: letters of the held-out fonts.
        others: further test sets of 8x8 or 28x28 digits, rendered as plain crops.
    """
    tests = {
        "mnist": _raw(mnist.test),
        "mnist_reframed": frame_set(*plain_crops(mnist.test, SEED + 1)),
        "rendered": frame_set(
            *render.render_digits(mnist.test, severity=ORDINARY_SEVERITY, seed=SEED + 2)
        ),
    }
    if glyphs is not None:
        tests["held_out_fonts"] = frame_set(*_printed_crops(glyphs, SEED + 3))
    for offset, (name, images) in enumerate(others.items()):
        tests[name] = frame_set(*plain_crops(images, SEED + 10 + offset))
    return Suites(
        policy=build_policy_sets(mnist),
        tests=tests,
        corruptions=_corruptions(mnist.test),
        garbage=_garbage(mnist.test, letters),
        harm=harm.draw(mnist.test, glyphs, letters, seed=HARM_SEED),
    )


def build_policy_sets(mnist: Mnist) -> PolicySets:
    """Render MNIST's validation and holdout digits."""
    clean = _raw(mnist.validation)
    renderings = [
        frame_set(
            *render.render_digits(
                mnist.validation, severity=ORDINARY_SEVERITY, seed=SEED + 100 + number
            )
        )
        for number in range(NUM_RENDERINGS)
    ]
    validation = _join([clean, *renderings])
    return PolicySets(
        validation=validation,
        validation_is_clean=np.arange(len(validation)) < len(clean),
        holdout=_one_crop_each(mnist.holdout),
    )


def digest(part: LabelledBatch) -> str:
    """The sha256 of a set: source, seeds, rendering and preprocessing all change it."""
    found = hashlib.sha256(part.batch.tobytes())
    found.update(part.labels.tobytes())
    return found.hexdigest()


def harm_digest(sets: Mapping[tuple[str, int], DamagedSet]) -> str:
    """The sha256 of all sets of damaged crops."""
    found = hashlib.sha256()
    for part in sets.values():
        found.update(part.batch.tobytes())
        found.update(part.labels.tobytes())
    return found.hexdigest()


def frame_set(crops: list[NDArray[np.uint8]], labels: NDArray[np.uint8]) -> LabelledBatch:
    """Preprocess labelled crops; a blank crop becomes a black image and is nearly always wrong."""
    return LabelledBatch(render.frame_all(crops)[0], labels)


def _raw(part: LabelledImages) -> LabelledBatch:
    return frame_set(list(part.images), part.labels)


def _one_crop_each(part: LabelledImages) -> LabelledBatch:
    """Each digit once, clean or rendered: two crops of one digit are no two independent reads."""
    is_clean = np.random.default_rng(SEED + 200).permutation(len(part)) % HOLDOUT_CLEAN_SHARE == 0
    written = part.take(np.flatnonzero(~is_clean))
    rendered = frame_set(
        *render.render_digits(written, severity=ORDINARY_SEVERITY, seed=SEED + 201)
    )
    return _join([_raw(part.take(np.flatnonzero(is_clean))), rendered])


def plain_crops(
    part: LabelledImages, seed: int
) -> tuple[list[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Undistorted digits as plain scans."""
    rng = np.random.default_rng(seed)
    canvases = warp(part.images, geometry(0), rng)
    return [scan(canvas, render.PLAIN, rng) for canvas in canvases], part.labels


def _printed_crops(
    glyphs: LabelledImages, seed: int
) -> tuple[list[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Two renderings of each glyph at severity 1, because print is straighter than handwriting."""
    twice = LabelledImages(np.tile(glyphs.images, (2, 1, 1)), np.tile(glyphs.labels, 2))
    return render.render_digits(twice, severity=1, seed=seed)


def _corruptions(test: LabelledImages) -> dict[tuple[str, int], LabelledBatch]:
    suite = {}
    for position, name in enumerate(CORRUPTIONS):
        for severity in range(1, MAX_SEVERITY + 1):
            rng = np.random.default_rng([SEED, position, severity])
            num = NUM_ORDINARY if severity == ORDINARY_SEVERITY else NUM_OTHER
            part = test.take(rng.permutation(len(test))[:num])
            crops = [corrupt(image, name, severity, rng) for image in part.images]
            suite[name, severity] = frame_set(crops, part.labels)
    return suite


def _garbage(
    test: LabelledImages, letters: NDArray[np.uint8] | None
) -> dict[str, NDArray[np.float32]]:
    """Garbage by kind, without the crops that preprocessing refuses as blank."""
    rng = np.random.default_rng(SEED + 50)
    material = garbage.Material(test, letters)
    suite = {}
    for kind in garbage.KINDS:
        if kind == "letter" and letters is None:
            continue
        crops = garbage.draw_kind(kind, material, NUM_GARBAGE, rng)
        batch, blank = render.frame_all(crops)
        suite[kind] = batch[~blank]
    return suite


def _join(parts: list[LabelledBatch]) -> LabelledBatch:
    return LabelledBatch(
        np.concatenate([part.batch for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )
