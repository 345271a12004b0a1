"""The test suite's crops: 200 real MNIST test digits, written as a scanner would send them.

Edge: writes PNG files. Independent of the scanner simulator on purpose: the code that draws the
training data should not draw the tests. Knows nothing about models.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data.datasets import LabelledImages

SEED = 20261121
NUM_PER_CLASS = 20
HEIGHT_PX = (20, 160)  # of the whole crop
MARGIN_FRAC = (0.04, 0.45)  # of the digit's height, each side by itself


@dataclass(frozen=True, slots=True)
class CropStyle:
    """How one crop is drawn."""

    height_px: int
    margins: tuple[float, float, float, float]  # top, bottom, left, right; share of digit height
    paper: int  # 0-255
    ink: int
    dark_ink: bool


def write_crops(test: LabelledImages, folder: Path) -> int:
    """Write the crops and labels.csv; same data, same bytes.

    Returns:
        Number of crops written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(SEED)
    rows = []
    for digit in range(10):
        where = np.flatnonzero(test.labels == digit)
        for index in np.sort(rng.choice(where, NUM_PER_CLASS, replace=False)):
            style = _draw_style(rng)
            crop = draw(test.images[index], style)
            name = f"{digit}-{index:05d}.png"
            Image.fromarray(crop).save(folder / name, optimize=True)
            polarity = "dark_on_light" if style.dark_ink else "light_on_dark"
            rows.append((name, digit, int(index), crop.shape[0], crop.shape[1], polarity))
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("file", "label", "mnist_test_index", "height_px", "width_px", "polarity"))
        writer.writerows(rows)
    return len(rows)


def _draw_style(rng: np.random.Generator) -> CropStyle:
    height_px = round(float(np.exp(rng.uniform(*np.log(HEIGHT_PX)))))
    top, bottom, left, right = rng.uniform(*MARGIN_FRAC, size=4)
    dark_ink = bool(rng.random() < 0.7)
    paper, ink = int(rng.integers(165, 256)), int(rng.integers(0, 70))
    if not dark_ink:
        paper, ink = 255 - paper, 255 - ink
    return CropStyle(height_px, (top, bottom, left, right), paper, ink, dark_ink)


def draw(image: NDArray[np.uint8], style: CropStyle) -> NDArray[np.uint8]:
    """Draw one digit.

    Args:
        image: (28, 28) uint8, ink bright.
        style: size, margins and grey levels.

    Returns:
        (H, W) uint8 crop, H = style.height_px.
    """
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    digit = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    top, bottom, left, right = style.margins
    digit_px = max(8, round(style.height_px / (1 + top + bottom)))
    width_px = max(1, round(digit.shape[1] * digit_px / digit.shape[0]))
    scaled = Image.fromarray(digit).resize((width_px, digit_px), Image.Resampling.BICUBIC)
    above = min(round(top * digit_px), style.height_px - digit_px)
    canvas = np.zeros((style.height_px, width_px + round((left + right) * digit_px)))
    beside = round(left * digit_px)
    canvas[above : above + digit_px, beside : beside + width_px] = np.asarray(scaled) / 255
    crop = style.paper + (style.ink - style.paper) * canvas
    drawn: NDArray[np.uint8] = np.rint(crop).astype(np.uint8)
    return drawn
