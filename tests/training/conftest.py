"""A tiny data set of drawn digits, and a tiny network: no download, seconds to fit."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from tiny import TinyNetwork, draw_digits, idx_bytes

from training.config import DataConfig
from training.data.datasets import LabelledImages
from training.data.mnist_files import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "true"


@dataclass(frozen=True)
class TinySource:
    folder: Path
    checksums: dict[str, str]

    def config(self, cache: Path) -> DataConfig:
        return DataConfig(cache=cache, folder=self.folder, npm_package=None)


@pytest.fixture
def tiny_source(tmp_path: Path) -> TinySource:
    folder = tmp_path / "source"
    folder.mkdir()
    train, test = draw_digits(100, seed=1), draw_digits(20, seed=2)
    arrays = {
        TRAIN_IMAGES: train.images,
        TRAIN_LABELS: train.labels,
        TEST_IMAGES: test.images,
        TEST_LABELS: test.labels,
    }
    checksums = {}
    for name, array in arrays.items():
        (folder / name).write_bytes(idx_bytes(array))
        checksums[name] = hashlib.md5(idx_bytes(array)).hexdigest()
    return TinySource(folder, checksums)


@pytest.fixture
def digits() -> LabelledImages:
    return draw_digits(64, seed=3)


@pytest.fixture
def tiny_network() -> TinyNetwork:
    torch.manual_seed(0)
    return TinyNetwork().eval()
