"""Damage composed at random from small operations: crops that a model must not believe.

A list of known kinds teaches a network those kinds and hardly the next one, so training draws one
to three operations with random strengths and places. The digit's label is kept: whether the read is
wrong decides whether the crop is to be refused (`training.fitting`). The kinds that are judged are
drawn by other code (`training.evaluation.harm_kinds`). Pure: everything random comes from the
generator passed in. Knows nothing about models or preprocessing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data.corruptions import Crop, to_crop, to_image
from training.data.damage_operations import OPERATIONS, Sheet

NUM_OPERATIONS = (0.6, 0.3, 0.1)  # chance of one, two and three
MIN_SIDE_PX = 6
# On its head, a 6 is a 9: nothing in the crop tells them apart.
UPSIDE_DOWN_PAIRS = (6, 9)
# What is left of one of these shows that something is missing; half of an 8 is a 0.
HIDDEN_SHOWS = (0, 2, 3, 5, 6)


def damage(
    crop: NDArray[np.uint8],
    label: int,
    others: Sequence[NDArray[np.uint8]],
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], bool]:
    """Damage one crop.

    Args:
        crop: (H, W) uint8, dark ink on light paper, one digit.
        label: its digit.
        others: further crops, for collages.
        rng: source of randomness.

    Returns:
        the damaged crop, uint8, and whether it still has one digit (False: of two, in parts).
    """
    num = 1 + int(rng.choice(len(NUM_OPERATIONS), p=NUM_OPERATIONS))
    grey = to_crop(crop / 255)
    has_one_digit = True
    for drawn in rng.choice(NAMES, num, replace=False, p=SHARES).tolist():
        name = _fitting(drawn, label)
        if name in PAIRING:
            other = to_crop(others[int(rng.integers(len(others)))] / 255)
            grey = PAIRING[name](grey, other, rng)
            has_one_digit = False
            continue
        sheet = Sheet.of(grey)
        if min(grey.shape) >= MIN_SIDE_PX:
            grey = OPERATIONS[name](sheet, rng)
    damaged: NDArray[np.uint8] = np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8)
    return damaged, has_one_digit


def _fitting(name: str, label: int) -> str:
    """The operation, or another one where its result may be a good digit of another label."""
    if name == "turn" and label in UPSIDE_DOWN_PAIRS:
        return "mirror"
    if name == "hide" and label not in HIDDEN_SHOWS:
        return "cut"
    return name


def _collage(first: Crop, second: Crop, rng: np.random.Generator) -> Crop:
    """A part of one digit beside a part of another."""
    axis = int(rng.integers(2))
    height, width = first.shape
    other = to_crop(
        np.asarray(to_image(second).resize((width, height), Image.Resampling.BILINEAR)) / 255
    )
    seam = int(rng.uniform(0.35, 0.65) * first.shape[axis])
    out = first.copy()
    chosen = (slice(seam, None), slice(None)) if axis == 0 else (slice(None), slice(seam, None))
    out[chosen] = other[chosen]
    return out


def _beside(first: Crop, second: Crop, rng: np.random.Generator) -> Crop:
    """A second digit beside the first or beneath it, apart or overlapping."""
    axis = int(rng.integers(4) == 0)  # 0: beside
    first, second = (first, second) if axis == 0 else (first.T, second.T)
    height = len(first)
    width = max(4, round(second.shape[1] * height / len(second) * rng.uniform(0.8, 1.25)))
    other = to_crop(
        np.asarray(to_image(second).resize((width, height), Image.Resampling.BILINEAR)) / 255
    )
    overlap = int(rng.uniform(-0.1, 0.35) * min(first.shape[1], width))
    paper = float(np.quantile(first, 0.9))
    both = np.full((height, first.shape[1] + width - overlap), paper, np.float32)
    both[:, : first.shape[1]] = first
    place = both[:, -width:]
    np.minimum(place, other, out=place)
    if rng.random() < 0.3:  # the sheets differ
        both[:, -width:] = other
    return both if axis == 0 else both.T


PAIRING: Mapping[str, Callable[[Crop, Crop, np.random.Generator], Crop]] = {
    "collage": _collage,
    "beside": _beside,
}

# The hardest kinds need the most examples.
_WEIGHTS: Mapping[str, float] = {
    **dict.fromkeys(OPERATIONS, 1.0),
    "cut": 3.5,
    "turn": 3.0,
    "mirror": 3.0,
    "bars": 2.0,
    "zoom": 1.5,
    "collage": 1.5,
    "beside": 2.0,
}
NAMES = tuple(_WEIGHTS)
SHARES = np.array(list(_WEIGHTS.values())) / sum(_WEIGHTS.values())
