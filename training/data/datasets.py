"""The data sets of training: MNIST's four parts.

Edge: reads disk. Knows nothing about rendering or models.

MNIST's training file keeps the digits of a writer together, in runs of about 250 rows where two
writers take turns (docs/measurements/gate-2026-11.md). The parts are therefore whole
blocks of rows, and the rows between two blocks are dropped: no writer is in two parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.config import DataConfig
from training.data.mislabelled import MISLABELLED
from training.data.mnist_files import (
    MNIST_MD5,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    TruncatedData,
    fill_cache,
    read_idx,
    verify,
)

NUM_FILE = 60_000  # rows of MNIST's training file; the blocks of another file are in proportion
# Rows between two blocks. Neighbours' style is alike for up to 300 rows, and no longer.
GAP = 300
TRAIN_BLOCK = (0, 48_000)
VALIDATION_BLOCK = (48_000 + GAP, 50_000 - GAP)
HOLDOUT_BLOCK = (50_000, NUM_FILE)


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Digits in MNIST's frame: images (N, 28, 28) uint8, ink bright; labels (N,) uint8."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: NDArray[np.intp] | slice) -> LabelledImages:
        """The chosen rows, in the order given."""
        return LabelledImages(self.images[index], self.labels[index])


@dataclass(frozen=True, slots=True)
class Mnist:
    """The four parts, each of other writers; only `evaluate` reads `test`."""

    train: LabelledImages
    validation: LabelledImages  # the best epoch, temperature and garbage threshold
    holdout: LabelledImages  # the accept thresholds, and nothing else that is chosen
    test: LabelledImages
    checksums: Mapping[str, str]


def load_mnist(config: DataConfig, *, checksums: Mapping[str, str] = MNIST_MD5) -> Mnist:
    """Read MNIST from the cache, filling the cache first when it is empty.

    Args:
        config: where to cache and where to fetch from.
        checksums: file name to md5 of the four IDX files.

    Raises:
        NoDataSource: no source has the files; the message lists each with its reason.
        WrongChecksum: a source or the cache has other bytes than expected.
        TruncatedData: an IDX file is shorter or longer than its header says.
    """
    if not all((config.cache / name).is_file() for name in checksums):
        fill_cache(config, checksums=checksums)
    verify(config.cache, checksums)
    file = _read_pair(config.cache, TRAIN_IMAGES, TRAIN_LABELS)
    is_mnist = checksums.get(TRAIN_LABELS) == MNIST_MD5[TRAIN_LABELS]
    wrong = tuple(MISLABELLED) if is_mnist else ()
    return Mnist(
        train=_block(file, TRAIN_BLOCK, wrong),
        validation=_block(file, VALIDATION_BLOCK, wrong),
        holdout=_block(file, HOLDOUT_BLOCK, wrong),
        test=_read_pair(config.cache, TEST_IMAGES, TEST_LABELS),
        checksums=dict(checksums),
    )


def _block(
    file: LabelledImages, block: tuple[int, int], mislabelled: Sequence[int]
) -> LabelledImages:
    """The rows of a block, without those whose label is known to be wrong."""
    first, end = (round(row * len(file) / NUM_FILE) for row in block)
    rows = np.arange(first, end)
    return file.take(rows[~np.isin(rows, np.array(mislabelled))])


def _read_pair(folder: Path, images_name: str, labels_name: str) -> LabelledImages:
    images = read_idx(folder / images_name)
    labels = read_idx(folder / labels_name)
    if len(images) != len(labels):
        raise TruncatedData(f"{images_name} has {len(images)} rows, {labels_name} {len(labels)}")
    return LabelledImages(images, labels)
