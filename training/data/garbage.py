"""Crops without exactly one digit, which the garbage head learns to refuse.

Letters, noise, near-blank paper, cancellations, half digits and two digits in one crop. Pure.
Knows nothing about models or preprocessing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.data.corruptions import CORRUPTIONS, Crop
from training.data.datasets import LabelledImages
from training.data.scanner import Scanner, extent, scan
from training.data.warp import CANVAS_PX, geometry, warp

WHOLE = replace(Scanner(), clip_prob=0, neighbour_prob=0, num_corruptions=(0, 2))
# Half of one of these is never a digit. Half a 1 is a 1, half an 8 is a 3, and half a 4, 7 or 9 may
# be a digit.
HALVED = (0, 2, 3, 5, 6)


@dataclass(frozen=True, slots=True)
class Material:
    """The images that garbage is made from."""

    digits: LabelledImages  # to cut in half and to pair
    letters: NDArray[np.uint8] | None  # (N, S, S), ink bright; None where no font was found


def draw(material: Material, num_crops: int, rng: np.random.Generator) -> list[NDArray[np.uint8]]:
    """Draw garbage of every kind, by `SHARES`; letters only when there are fonts.

    Returns:
        (H, W) uint8 crops.
    """
    kinds = [kind for kind in KINDS if kind != "letter" or material.letters is not None]
    shares = np.array([SHARES[kind] for kind in kinds])
    chosen = rng.choice(len(kinds), num_crops, p=shares / shares.sum())
    return [KINDS[kinds[int(kind)]](material, rng) for kind in chosen]


def draw_kind(
    kind: str, material: Material, num_crops: int, rng: np.random.Generator
) -> list[NDArray[np.uint8]]:
    """Draw garbage of one kind, for evaluation by kind."""
    return [KINDS[kind](material, rng) for _ in range(num_crops)]


def _severity(rng: np.random.Generator) -> float:
    return float(rng.uniform(1, 3.5))


def _letter(material: Material, rng: np.random.Generator) -> NDArray[np.uint8]:
    assert material.letters is not None
    letter = material.letters[int(rng.integers(len(material.letters)))]
    return scan(warp(letter[None], geometry(_severity(rng)), rng)[0], WHOLE, rng)


def _noise(_: Material, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Smooth or fine noise, from dirt to texture."""
    height, width = (int(side) for side in rng.integers(10, 80, 2))
    grain = float(np.exp(rng.uniform(0, np.log(8))))
    rows = np.arange(height)[:, None] / grain
    columns = np.arange(width)[None] / grain
    coarse = rng.standard_normal((int(height / grain) + 2, int(width / grain) + 2))
    field = coarse[rows.astype(int), columns.astype(int)]
    if rng.random() < 0.5:
        field = (field > rng.uniform(0, 2)).astype(np.float64)
    span = float(np.ptp(field)) or 1.0
    grey = 255 * (field - field.min()) / span
    noise: NDArray[np.uint8] = (grey if rng.random() < 0.5 else 255 - grey).astype(np.uint8)
    return noise


def _paper(_: Material, rng: np.random.Generator) -> NDArray[np.uint8]:
    """No digit at all: paper with the marks that scanners and forms add."""
    height, width = (int(side) for side in rng.integers(12, 80, 2))
    crop = np.full((height, width), rng.uniform(0.6, 1), np.float32)
    marks = ("sensor_noise", "shade", "stripes", "lines", "stamp", "salt_and_pepper")
    for name in rng.choice(marks, 2, replace=False):
        crop = CORRUPTIONS[str(name)](crop, float(rng.uniform(1, 5)), rng)
    return _to_bytes(crop)


def _stamp(_: Material, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Strokes of a cancellation or a scribble: some arcs and lines, no digit."""
    height, width = (int(side) for side in rng.integers(20, 80, 2))
    crop = np.full((height, width), rng.uniform(0.7, 1), np.float32)
    for _stroke in range(int(rng.integers(1, 4))):
        crop = CORRUPTIONS["stamp"](crop, 5.0, rng)
    return _to_bytes(CORRUPTIONS["sensor_noise"](crop, float(rng.uniform(0, 2)), rng))


def _half(material: Material, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Half a digit: 40 to 60 % of it is missing."""
    for _ in range(20):
        index = int(rng.integers(len(material.digits)))
        if material.digits.labels[index] in HALVED:
            break
    canvas = warp(material.digits.images[index][None], geometry(_severity(rng)), rng)[0]
    axis = int(rng.integers(2))
    first, last = extent(canvas, axis=axis)
    cut = first + round((last - first) * rng.uniform(0.4, 0.6))
    gone = slice(0, cut) if rng.random() < 0.5 else slice(cut, None)
    canvas[(slice(None), gone) if axis == 0 else (gone, slice(None))] = 0
    return scan(canvas, WHOLE, rng)


def _two(material: Material, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Two digits side by side, overlapping or apart; both keep at least 70 %."""
    pair = warp(
        material.digits.images[rng.integers(len(material.digits), size=2)],
        geometry(_severity(rng)),
        rng,
    )
    parts = [canvas[:, slice(*extent(canvas, axis=0))] for canvas in pair]
    gap_px = int(rng.integers(-4, 9))
    wide = np.zeros((CANVAS_PX, parts[0].shape[1] + parts[1].shape[1] + gap_px), np.float32)
    wide[:, : parts[0].shape[1]] = parts[0]
    second = wide[:, -parts[1].shape[1] :]
    np.maximum(second, parts[1], out=second)
    side = max(wide.shape)
    square = np.zeros((side, side), np.float32)
    top, left = (side - CANVAS_PX) // 2, (side - wide.shape[1]) // 2
    square[top : top + CANVAS_PX, left : left + wide.shape[1]] = wide
    return scan(square, WHOLE, rng)


def _to_bytes(crop: Crop) -> NDArray[np.uint8]:
    grey: NDArray[np.uint8] = np.rint(np.clip(crop, 0, 1) * 255).astype(np.uint8)
    return grey


KINDS: Mapping[str, Callable[[Material, np.random.Generator], NDArray[np.uint8]]] = {
    "letter": _letter,
    "half_digit": _half,
    "two_digits": _two,
    "noise": _noise,
    "paper": _paper,
    "stamp": _stamp,
}

# Shares of the training pool's garbage: the kinds most like a digit need the most examples.
SHARES: Mapping[str, float] = {
    "letter": 0.26,
    "half_digit": 0.26,
    "two_digits": 0.21,
    "noise": 0.09,
    "paper": 0.09,
    "stamp": 0.09,
}
