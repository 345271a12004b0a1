"""Drawn digits and a tiny network, shared by the training tests."""

import struct

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from training.data.datasets import LabelledImages


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
