"""Stage two of the scanner simulator: a warped digit becomes a crop as a sorting machine sends it.

`scan` cuts one digit out, puts it on paper and scans it with up to three of the twelve
corruptions; `corrupt` makes one crop of the robustness suite. Pure: everything random comes from
the generator passed in. Knows nothing about models or preprocessing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data.corruptions import CORRUPTIONS, Crop
from training.data.warp import CANVAS_PX, geometry, warp


@dataclass(frozen=True, slots=True)
class Scanner:
    """Ranges of `scan`: cutting out, paper, scanning."""

    height_px: tuple[int, int] = (8, 120)  # of the digit, log-uniform
    margin_frac: tuple[float, float] = (0.0, 0.4)  # of the digit's height
    clip_prob: float = 0.1
    clip_frac: float = 0.1  # at most this share is cut off one side
    neighbour_prob: float = 0.12
    coarse_prob: float = 0.0  # scanned at few pixels and enlarged, as in old data sets
    coarse_px: tuple[int, int] = (7, 18)  # height of the digit at that scan
    light_on_dark_prob: float = 0.25
    severity: tuple[float, float] = (0.5, 3.3)  # of each corruption that happens
    num_corruptions: tuple[int, int] = (0, 3)


def scan(
    canvas: Crop, scanner: Scanner, rng: np.random.Generator, *, neighbour: Crop | None = None
) -> NDArray[np.uint8]:
    """Cut a warped digit out, put it on paper and scan it.

    Args:
        canvas: (CANVAS_PX, CANVAS_PX) float32, ink bright, from `warp`.
        scanner: ranges.
        rng: source of randomness.
        neighbour: another canvas; with `scanner.neighbour_prob` part of it shows at one side.

    Returns:
        (H, W) uint8 crop of either polarity.
    """
    ink = _cut(canvas, scanner, rng, neighbour=neighbour)
    crop = _put_on_paper(ink, rng)
    num_corruptions = int(rng.integers(scanner.num_corruptions[0], scanner.num_corruptions[1] + 1))
    for name in rng.choice(tuple(CORRUPTIONS), num_corruptions, replace=False):
        crop = CORRUPTIONS[str(name)](crop, float(rng.uniform(*scanner.severity)), rng)
    return _digitise(crop, rng, light_on_dark_prob=scanner.light_on_dark_prob)


def corrupt(
    ink: NDArray[np.uint8], name: str, severity: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """One crop of the robustness suite: a plain 40 px scan with one corruption.

    Args:
        ink: (28, 28) uint8, ink bright.
        name: one of `CORRUPTIONS`.
        severity: 1 to 5.
        rng: source of randomness.

    Returns:
        (H, W) uint8 crop, dark ink on light paper.
    """
    canvas = warp(ink[None], geometry(0), rng)[0]
    plain = Scanner(height_px=(28, 56), margin_frac=(0.1, 0.3), clip_prob=0)
    crop = _put_on_paper(_cut(canvas, plain, rng), rng)
    return _digitise(CORRUPTIONS[name](crop, severity, rng), rng, light_on_dark_prob=0)


def extent(canvas: Crop, *, axis: int) -> tuple[int, int]:
    """First and one-past-last row (axis=1) or column (axis=0) with ink."""
    inked = np.flatnonzero(canvas.max(axis=axis) > 0.3)
    if not len(inked):
        middle = CANVAS_PX // 2
        return middle - 4, middle + 4
    return int(inked[0]), int(inked[-1]) + 1


def _add_neighbour(
    canvas: Crop, neighbour: Crop, rng: np.random.Generator
) -> tuple[Crop, int, int]:
    """Add a sliver of the next digit.

    Returns:
        the canvas, the side (2 left, 3 right), and the margin in canvas px at which the crop's
        edge must cut, so that only the sliver shows.
    """
    left, right = extent(canvas, axis=0)
    other_left, other_right = extent(neighbour, axis=0)
    gap = int(rng.integers(2, 7))
    width = int(rng.integers(2, 8))
    shifted = np.zeros_like(canvas)
    if rng.random() < 0.5:
        width = max(0, min(width, canvas.shape[1] - right - gap, other_right - other_left))
        shifted[:, right + gap : right + gap + width] = neighbour[:, other_left:][:, :width]
        return np.maximum(canvas, shifted), 3, gap + width
    width = max(0, min(width, left - gap, other_right - other_left))
    if width:
        shifted[:, left - gap - width : left - gap] = neighbour[:, :other_right][:, -width:]
    return np.maximum(canvas, shifted), 2, gap + width


def _cut(
    canvas: Crop, scanner: Scanner, rng: np.random.Generator, *, neighbour: Crop | None = None
) -> Crop:
    """Cut the digit out, with margins or clipped, and resample it to the scanner's size."""
    top, bottom = extent(canvas, axis=1)
    left, right = extent(canvas, axis=0)
    height = bottom - top
    margins = rng.uniform(*scanner.margin_frac, 4) * height
    if rng.random() < 0.35:
        margins *= 0.1  # tight crops are common in postal data
    if rng.random() < scanner.clip_prob:
        side = int(rng.integers(4))
        span = height if side < 2 else right - left
        margins[side] = -rng.uniform(0, scanner.clip_frac) * span
    if neighbour is not None and rng.random() < scanner.neighbour_prob:
        canvas, side, margin = _add_neighbour(canvas, neighbour, rng)
        margins[side] = margin
    box = (
        max(0.0, left - margins[2]),
        max(0.0, top - margins[0]),
        min(float(canvas.shape[1]), right + margins[3]),
        min(float(canvas.shape[0]), bottom + margins[1]),
    )
    digit_px = np.exp(rng.uniform(*np.log(scanner.height_px)))
    scale = digit_px / height
    size = (max(4, round((box[2] - box[0]) * scale)), max(4, round((box[3] - box[1]) * scale)))
    how = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.BOX)
    resized = Image.fromarray(canvas).resize(size, how[int(rng.integers(3))], box=box)
    if rng.random() < scanner.coarse_prob:
        shrink = min(1.0, rng.uniform(*scanner.coarse_px) / digit_px)
        small = (max(4, round(size[0] * shrink)), max(4, round(size[1] * shrink)))
        resized = resized.resize(small, Image.Resampling.BOX)
        resized = resized.resize(size, how[int(rng.integers(2))])
    cut: Crop = np.clip(np.asarray(resized, dtype=np.float32), 0, 1)
    return cut


def _put_on_paper(ink: Crop, rng: np.random.Generator) -> Crop:
    """Dark ink on paper: grey levels of envelopes and pens."""
    paper = 1 - 0.45 * rng.random() ** 2
    darkness = rng.uniform(0, 0.35)
    return (paper - (paper - min(darkness, paper - 0.35)) * ink).astype(np.float32)


def _digitise(
    crop: Crop, rng: np.random.Generator, *, light_on_dark_prob: float
) -> NDArray[np.uint8]:
    if rng.random() < light_on_dark_prob:
        crop = 1 - crop
    grey: NDArray[np.uint8] = np.rint(np.clip(crop, 0, 1) * 255).astype(np.uint8)
    return grey
