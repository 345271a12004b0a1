"""Crops that are the same picture, or nearly: encoded again, noisier, in other light. Pure."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

# Cosine of two images. Of 10,000 postal digits by many hands 10 have a neighbour above it, most of
# them the same crop twice; the same crop with noise, as JPEG or in other light is above 0.999.
NEAR: Final = 0.985
_ROWS_AT_ONCE: Final = 1024


def near_pairs(
    first: NDArray[np.uint8], second: NDArray[np.uint8]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The pairs of an image of the first and one of the second that show nearly the same.

    Args:
        first: (N, 28, 28).
        second: (M, 28, 28).

    Returns:
        rows of the first, and of the second; equal images are among them.
    """
    if not len(first) or not len(second):  # a month of few labels may have no test share
        return np.empty(0, np.intp), np.empty(0, np.intp)
    left, right = _unit(first), _unit(second)
    found = [
        np.argwhere(left[start : start + _ROWS_AT_ONCE] @ right.T > NEAR) + np.array([start, 0])
        for start in range(0, len(left), _ROWS_AT_ONCE)
    ]
    pairs = np.concatenate(found)
    return pairs[:, 0], pairs[:, 1]


def _unit(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    flat = images.reshape(len(images), -1).astype(np.float32)
    unit: NDArray[np.float32] = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1)
    return unit
