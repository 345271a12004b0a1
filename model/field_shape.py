"""How a field's digits stand: their height, their slant, the slope of their line.

Knows nothing about which ink is which digit.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.field_labels import Parts

SPECK_FRAC: Final = 0.3  # of the tallest part: a lower one says nothing of the digits' height
MAX_SLANT: Final = 0.5  # to the right for each px up
NUM_SLANTS: Final = 15
STRIPS: Final = 12
THINNED: Final = 2  # every other column is enough
LEAST_GAIN: Final = 1.03  # in the energy of the columns: less is no slant
MAX_SLOPE: Final = 0.15  # down for each px along


def digit_height(parts: Parts) -> float:
    """The height in px of most of the ink's parts, by area; 0: no ink."""
    if not len(parts.areas):
        return 0.0
    heights = parts.bottoms - parts.tops
    is_tall = heights >= SPECK_FRAC * heights.max()
    order = np.argsort(heights[is_tall])
    areas = np.cumsum(parts.areas[is_tall][order])
    middle = int(np.searchsorted(areas, areas[-1] / 2))
    return float(heights[is_tall][order][middle])


def find_slant(mask: NDArray[np.bool_]) -> float:
    """To the right for each px up: the shear that makes the columns' ink most uneven.

    Source:
        Vinciarelli and Luettin, "A new normalization technique for cursive handwritten words",
        2001, in a simple form.
    """
    height = len(mask)
    strips = min(STRIPS, height)
    starts = np.arange(strips) * height // strips
    counts = np.add.reduceat(mask[:, ::THINNED], starts, axis=0, dtype=np.float32)
    width = counts.shape[1]
    pad = int(MAX_SLANT * height / 2 / THINNED) + 2
    padded = np.zeros((strips, width + 2 * pad), dtype=np.float32)
    padded[:, pad:-pad] = counts
    up = height / 2 - (np.append(starts[1:], height) + starts) / 2
    slants = np.linspace(-MAX_SLANT, MAX_SLANT, NUM_SLANTS)
    across = np.rint(slants[:, np.newaxis] * up / THINNED).astype(np.intp)
    columns = np.arange(width + 2 * pad)
    places = (columns + across[:, :, np.newaxis]).clip(0, len(columns) - 1)
    places += np.arange(strips)[:, np.newaxis] * len(columns)
    energy = np.square(padded.ravel().take(places).sum(axis=1)).sum(axis=1)
    best = int(energy.argmax())
    return float(slants[best]) if energy[best] > LEAST_GAIN * energy[NUM_SLANTS // 2] else 0.0


def straighten(height: int, width: int, slant: float) -> tuple[NDArray[np.intp], int]:
    """Where each pixel of an upright picture is in the slanted one.

    Returns:
        (H, W') flat places in a (H, W) picture with one free column appended at its right; the
        px that the upright picture is wider by at its left.
    """
    up = height / 2 - np.arange(height) - 0.5
    across = np.rint(slant * up).astype(np.intp)
    pad = int(np.abs(across).max())
    columns = np.arange(-pad, width + pad) + across[:, np.newaxis]
    columns = np.where((columns >= 0) & (columns < width), columns, width)
    return columns + np.arange(height)[:, np.newaxis] * (width + 1), pad


def find_slope(middles_x: NDArray[np.float64], middles_y: NDArray[np.float64]) -> float:
    """Down for each px along, of the line through the middles of the digits."""
    if len(middles_x) < 3:
        return 0.0
    x = middles_x - middles_x.mean()
    spread = float(x @ x)
    slope = float(x @ (middles_y - middles_y.mean())) / spread if spread > 0 else 0.0
    return min(max(slope, -MAX_SLOPE), MAX_SLOPE)
