"""Faults of a scanner that the study of the site breaker applies to crops. Pure.

Written for that study alone: training neither sees them nor is judged by them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Crop = NDArray[np.uint8]
Fault = Callable[[Crop, np.random.Generator], NDArray[np.floating] | Crop]


def apply(fault: Fault, crops: list[Crop], seed: int) -> list[Crop]:
    """Give each crop the fault."""
    rng = np.random.default_rng(seed)
    return [
        np.ascontiguousarray(np.clip(fault(crop, rng), 0, 255).round().astype(np.uint8))
        for crop in crops
    ]


def _paper(crop: Crop) -> int:
    return int(np.median(crop))


def _ink(crop: Crop) -> int:
    """The end of the grey scale that is farther from the paper."""
    return int(max((crop.min(), crop.max()), key=lambda grey: abs(int(grey) - _paper(crop))))


def _bar(crop: Crop, _: np.random.Generator) -> Crop:
    side = crop.shape[0]
    barred = crop.copy()
    barred[3 * side // 7 : 4 * side // 7] = _paper(crop)
    return barred


def _stripe(crop: Crop, _: np.random.Generator) -> Crop:
    width = crop.shape[1]
    striped = crop.copy()
    striped[:, width // 2 : width // 2 + max(1, width // 14)] = _ink(crop)
    return striped


def _blur(crop: Crop, sides: float) -> NDArray[np.floating]:
    blurred: NDArray[np.floating] = ndimage.gaussian_filter(
        crop.astype(float), sides * max(crop.shape)
    )
    return blurred


def _dead_columns(crop: Crop, _: np.random.Generator) -> Crop:
    dead = crop.copy()
    dead[:, ::4] = _paper(crop)
    return dead


def _slant(crop: Crop, _: np.random.Generator) -> NDArray[np.floating]:
    slanted: NDArray[np.floating] = ndimage.affine_transform(
        crop.astype(float),
        [[1, 0], [0.8, 1]],
        offset=[0, -0.4 * crop.shape[0]],
        cval=_paper(crop),
    )
    return slanted


def _double_feed(crop: Crop, _: np.random.Generator) -> Crop:
    """The mirror image stands for the next piece's digit."""
    other = np.roll(crop[:, ::-1], max(1, crop.shape[1] // 8), axis=1)
    is_dark_ink = _ink(crop) < _paper(crop)
    darker: Crop = np.minimum(crop, other) if is_dark_ink else np.maximum(crop, other)
    return darker


FAULTS: Final[dict[str, Fault]] = {
    "turned by 180 degrees": lambda crop, _: crop[::-1, ::-1],
    "turned by 90 degrees": lambda crop, _: np.rot90(crop),
    "mirrored": lambda crop, _: crop[:, ::-1],
    "flipped": lambda crop, _: crop[::-1],
    "upper half cut off": lambda crop, _: crop[crop.shape[0] // 2 :],
    "left half cut off": lambda crop, _: crop[:, crop.shape[1] // 2 :],
    "right half cut off": lambda crop, _: crop[:, : crop.shape[1] // 2],
    "lower third cut off": lambda crop, _: crop[: 2 * crop.shape[0] // 3],
    "halves swapped": lambda crop, _: np.roll(crop, crop.shape[0] // 2, axis=0),
    "double feed": _double_feed,
    "white bar": _bar,
    "stripe": _stripe,
    "stripe and blur": lambda crop, rng: _blur(_stripe(crop, rng), 1 / 22),
    "blur, sigma 1/22": lambda crop, _: _blur(crop, 1 / 22),
    "blur, sigma 1/11": lambda crop, _: _blur(crop, 1 / 11),
    "motion blur": lambda crop, _: ndimage.uniform_filter1d(
        crop.astype(float), max(3, crop.shape[1] // 4), axis=1
    ),
    "noise": lambda crop, rng: crop + rng.normal(0, 60, crop.shape),
    "lamp failing": lambda crop, _: crop * 0.12,
    "nothing but paper": lambda crop, _: np.full_like(crop, _paper(crop)),
    "slant of 0.8": _slant,
    "every third row": lambda crop, _: np.repeat(crop[::3], 3, axis=0),
    "dead columns": _dead_columns,
    "negative": lambda crop, _: 255 - crop,
}
