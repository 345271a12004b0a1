"""Strokes on digits in MNIST's frame, many digits at once: measure where they are, draw more.

Pure. x is the column and y the row, both in px from the middle of the first pixel. Knows nothing
about labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIDE_PX = 28
INK = 0.5  # a pixel above it belongs to a stroke
_AXIS = np.arange(SIDE_PX, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Box:
    """First and last row and column with ink, each (N,) float64; the frame where there is none."""

    left: NDArray[np.float64]
    top: NDArray[np.float64]
    right: NDArray[np.float64]
    bottom: NDArray[np.float64]

    @property
    def height(self) -> NDArray[np.float64]:
        """In px."""
        return self.bottom - self.top + 1

    @property
    def width(self) -> NDArray[np.float64]:
        """In px."""
        return self.right - self.left + 1


def boxes(digits: NDArray[np.float32]) -> Box:
    """The box of each digit's ink; digits (N, 28, 28) in [0, 1]."""
    rows, columns = digits.max(2) > INK, digits.max(1) > INK
    last = SIDE_PX - 1
    return Box(
        left=columns.argmax(1).astype(float),
        top=rows.argmax(1).astype(float),
        right=last - columns[:, ::-1].argmax(1).astype(float),
        bottom=last - rows[:, ::-1].argmax(1).astype(float),
    )


def stroke_width(digits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean width of each digit's strokes in px, by area over half the outline; at least 1."""
    outline = np.hypot(np.diff(digits, axis=1)[:, :, :-1], np.diff(digits, axis=2)[:, :-1])
    area = digits.sum((1, 2))
    width: NDArray[np.float64] = np.maximum(
        1.0, 2 * area / np.maximum(outline.sum((1, 2)), 1e-6)
    ).astype(float)
    return width


def leftmost(
    digits: NDArray[np.float32], top: NDArray[np.float64], bottom: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """X and y of the leftmost ink between two rows; (0, 0) where there is none."""
    rows = np.arange(SIDE_PX)[None]
    ink = (digits > INK) & ((rows >= top[:, None]) & (rows <= bottom[:, None]))[:, :, None]
    x = ink.any(1).argmax(1)
    column = np.take_along_axis(ink, x[:, None, None], 2)[:, :, 0]
    y = (column * rows).sum(1) / np.maximum(column.sum(1), 1)
    return x.astype(float), y.astype(float)


def loop_middle(
    digits: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """X and y of the middle of what has ink on all four sides; the frame's where nothing has."""
    ink = digits > INK
    surrounded = ~ink
    for axis in (1, 2):
        surrounded &= np.logical_or.accumulate(ink, axis)
        surrounded &= np.flip(np.logical_or.accumulate(np.flip(ink, axis), axis), axis)
    num = surrounded.sum((1, 2))
    share = np.maximum(num, 1)
    x = np.where(num, (surrounded.sum(1) * _AXIS).sum(1) / share, SIDE_PX / 2)
    y = np.where(num, (surrounded.sum(2) * _AXIS).sum(1) / share, SIDE_PX / 2)
    return x.astype(float), y.astype(float)


def first_ink(
    digits: NDArray[np.float32],
    start: tuple[NDArray[np.float64], NDArray[np.float64]],
    toward: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Walk straight until there is ink.

    Args:
        digits: (N, 28, 28) in [0, 1].
        start: x and y in px.
        toward: x and y of a step of 1 px.

    Returns:
        distance in px, (N,); whether there was ink within the frame, (N,).
    """
    steps = np.arange(0, SIDE_PX / 2, 0.5)[None]
    x, y = (
        np.clip(np.rint(origin[:, None] + step[:, None] * steps), 0, SIDE_PX - 1).astype(int)
        for origin, step in zip(start, toward, strict=True)
    )
    ink = digits[np.arange(len(digits))[:, None], y, x] > INK
    return steps[0][ink.argmax(1)], ink.any(1)


def draw(path: NDArray[np.float64], width: NDArray[np.float64]) -> NDArray[np.float32]:
    """Strokes along polylines, with round ends and soft edges.

    Args:
        path: (N, K, 2) x and y in px; two equal points are a disc.
        width: (N,) in px.

    Returns:
        (N, 28, 28) float32 in [0, 1].
    """
    points = path.astype(np.float32)[..., None, None]
    nearest = np.full((len(path), SIDE_PX, SIDE_PX), np.inf, np.float32)
    for number in range(path.shape[1] - 1):
        start, step = points[:, number], points[:, number + 1] - points[:, number]
        across, down = _AXIS[None, None] - start[:, 0], _AXIS[None, :, None] - start[:, 1]
        length = np.maximum((step**2).sum(1), 1e-6)
        along = np.clip((across * step[:, 0] + down * step[:, 1]) / length, 0, 1)
        squared = (across - along * step[:, 0]) ** 2 + (down - along * step[:, 1]) ** 2
        np.minimum(nearest, squared, out=nearest)
    half = (width / 2).astype(np.float32)[:, None, None]
    ink: NDArray[np.float32] = np.clip(half + np.float32(0.5) - np.sqrt(nearest), 0, 1)
    return ink
