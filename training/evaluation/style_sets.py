"""Test digits written in each style: the evaluation set `styles`, and its parts.

Pure given the data. Knows nothing about models.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from training.data import styles
from training.data.datasets import LabelledImages
from training.evaluation.suites import SEED, LabelledBatch, frame_set, plain_crops

NUM_A_STYLE = 500


def build_style_sets(test: LabelledImages) -> dict[str, LabelledBatch]:
    """The first digits of each style's label, written in that style, as plain scans."""
    sets = {}
    for offset, (name, style) in enumerate(styles.STYLES.items()):
        part = unstyled(test, style.label)
        rng = np.random.default_rng([SEED, 200, offset])
        written = LabelledImages(styles.write_all(part.images, name, rng), part.labels)
        sets[name] = frame_set(*plain_crops(written, SEED + 200 + offset))
    return sets


def unstyled(test: LabelledImages, label: int) -> LabelledImages:
    """The digits that a style changes, as MNIST's writers wrote them."""
    return test.take(np.flatnonzero(test.labels == label)[:NUM_A_STYLE])


def join(sets: Mapping[str, LabelledBatch]) -> LabelledBatch:
    """All styles as one set."""
    return LabelledBatch(
        np.concatenate([part.batch for part in sets.values()]),
        np.concatenate([part.labels for part in sets.values()]),
    )
