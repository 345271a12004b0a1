"""Drawn digits and a tiny network, shared by the training tests."""

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from training.config import DataConfig
from training.data.datasets import LabelledImages
from training.data.mnist_files import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS


def draw_digits(num: int, seed: int) -> LabelledImages:
    """Digits of Pillow's built-in font, moved a little: MNIST's frame, nobody's data."""
    rng = np.random.default_rng(seed)
    font = ImageFont.load_default(22)
    images, labels = [], rng.integers(10, size=num).astype(np.uint8)
    for label in labels:
        image = Image.new("L", (28, 28), 0)
        x, y = 7 + rng.uniform(-2, 2), 1 + rng.uniform(-2, 2)
        ImageDraw.Draw(image).text((x, y), str(label), fill=255, font=font)
        images.append(np.asarray(image))
    return LabelledImages(np.stack(images), labels)


def idx_bytes(array: np.ndarray) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


@dataclass(frozen=True)
class TinySource:
    folder: Path
    checksums: dict[str, str]

    def config(self, cache: Path) -> DataConfig:
        return DataConfig(cache=cache, folder=self.folder, npm_package=None)


def write_tiny_source(folder: Path) -> TinySource:
    """The four files of a data set of 200 and 20 drawn digits."""
    folder.mkdir()
    train, test = draw_digits(200, seed=1), draw_digits(20, seed=2)
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


class TinyNetwork(nn.Module):
    """Both heads of the real network behind one small convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 4, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.digit_head = nn.Linear(16 * 49, 10)
        self.garbage_head = nn.Linear(16 * 49, 1)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.body(image).flatten(1)
        return self.digit_head(features), self.garbage_head(features)
