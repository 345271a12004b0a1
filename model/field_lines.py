"""Takes the printed lines out of a field: underlines, frames, the walls between cells.

A printed line is thin, straight and longer than a digit's stroke. Only ink that is as thin as the
line goes: where a stroke crosses, the ink is thicker, so it stays and no stroke is broken.
Knows nothing about grey levels. `model.lines` does the same for a crop, where a line runs from one
edge to the other.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_THICK_FRAC: Final = 0.075  # of the field's height
MIN_THICK_PX: Final = 2
MAX_SLOPE: Final = 0.1  # down for each px along
NUM_SLOPES: Final = 21
STRIPS: Final = 12
MIN_LENGTH_FRAC: Final = 0.3  # of the field's width
MIN_LENGTH_HEIGHTS: Final = 1.1  # of the field's height: longer than a digit's stroke
FILLED_FRAC: Final = 0.85  # of a line's length is ink
THIN_FRAC: Final = 0.45  # of it is thin ink; the rest is crossed by strokes
WALL_SPAN_FRAC: Final = 0.95  # of the way between two lines: a 1 in a frame is shorter
WALL_FILLED_FRAC: Final = 0.95

Mask = NDArray[np.bool_]


class Ruled(NamedTuple):
    """A mask without its printed lines."""

    mask: Mask  # (H, W)
    lines: Mask  # (H, W) what was taken out
    num_lines: int


def take_lines_out(mask: Mask) -> Ruled:
    """Find the lines of a (H, W) mask of ink and take them out."""
    height, width = mask.shape
    thick = max(MIN_THICK_PX, round(MAX_THICK_FRAC * height))
    least = max(MIN_LENGTH_FRAC * width, MIN_LENGTH_HEIGHTS * height)
    lying, rows = _find_lying(mask, thick, round(min(least, 0.9 * width)), FILLED_FRAC)
    lines, num_walls = lying, 0
    bounds = _inner(rows, height)
    if bounds is not None:
        inside = np.ascontiguousarray(mask[bounds[0] : bounds[1]].T)
        # Walls are as thick as the frame.
        thick = min(thick, 2 + round(np.count_nonzero(lying) / (len(rows) * width)))
        span = round(WALL_SPAN_FRAC * inside.shape[1])
        walls, columns = _find_lying(inside, thick, span, WALL_FILLED_FRAC)
        lines = lying.copy()
        lines[bounds[0] : bounds[1]] |= walls.T
        num_walls = len(columns)
    return Ruled(mask & ~lines, lines, len(rows) + num_walls)


def _inner(rows: list[int], height: int) -> tuple[int, int] | None:
    """From the first to the last lying line, where they are the two sides of a frame."""
    if len(rows) < 2 or rows[-1] - rows[0] < 0.4 * height:
        return None
    return rows[0], rows[-1] + 1


def _find_lying(mask: Mask, thick: int, length: int, filled_frac: float) -> tuple[Mask, list[int]]:
    """The pixels of all lines from left to right, and the rows in their middle."""
    height, width = mask.shape
    none = np.zeros_like(mask)
    if length < 8 or height < 8:
        return none, []
    thin = mask & ~_open_down(mask, thick + 1)
    level = _find_level(thin, length)
    if level is None:
        return none, []
    shifts, rows = level
    index = (rows[:, np.newaxis] + shifts) % height
    columns = np.arange(width)
    level_mask, level_thin = mask[index, columns], thin[index, columns]
    filled = _window_sums(_grow_down(level_mask), length) >= filled_frac * length
    thinned = _window_sums(_grow_down(level_thin), length) >= THIN_FRAC * length
    is_line = _spread_back(filled & thinned, length, width)
    found = none.copy()
    found[index, columns] = _grow_down(is_line) & level_thin
    lines = np.zeros(height, dtype=np.bool_)
    lines[rows] = np.logical_or.reduce(is_line, axis=1)
    return found, _middles(lines)


def _find_level(thin: Mask, length: int) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
    """How far down the lines are at each column, and the rows that may have one; None: no row has.

    A row is counted where the shift is 0, in the middle.
    """
    coarse = np.linspace(-MAX_SLOPE, MAX_SLOPE, NUM_SLOPES)
    slope, sums = _steepest_peak(thin, coarse, STRIPS)
    # A line that is between two rows has half its ink in each.
    if (sums + _rolled(sums, 1)).max() < THIN_FRAC * length:
        return None
    step = coarse[1] - coarse[0]
    slope, sums = _steepest_peak(thin, slope + np.linspace(-0.75, 0.75, 7) * step, 2 * STRIPS)
    near = sums + _rolled(sums, 1) + _rolled(sums, -1)
    is_full = _near(near >= THIN_FRAC * length, 2)
    height, width = thin.shape
    if not is_full.any():
        return None
    shifts: NDArray[np.intp] = np.rint(slope * (np.arange(width) + 0.5 - width / 2)).astype(np.intp)
    return shifts, np.arange(height)[is_full]


def _near(flags: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """Set where a flag is set so near."""
    near: NDArray[np.bool_] = flags.copy()
    for step in range(1, by + 1):
        near |= _rolled(flags, step) | _rolled(flags, -step)
    return near


def _rolled(values: NDArray[Any], by: int) -> NDArray[Any]:
    """As `np.roll`, of few values in a tenth of the time."""
    return np.concatenate([values[-by:], values[:-by]])


def _steepest_peak(
    thin: Mask, slopes: NDArray[np.float64], strips: int
) -> tuple[float, NDArray[np.float32]]:
    """The slope at which the ink is in fewest rows, and the ink of each row then."""
    height, width = thin.shape
    strips = min(strips, width)
    starts = np.arange(strips) * width // strips
    counts = np.add.reduceat(thin, starts, axis=1, dtype=np.float32)
    middles = (np.append(starts[1:], width) + starts) / 2 - width / 2
    down = np.rint(slopes[:, np.newaxis] * middles).astype(np.intp)
    # Twice the picture, one below the other, takes the place of a remainder.
    down %= height
    twice = np.concatenate([counts, counts]).ravel()
    rows = np.arange(height)[np.newaxis, :, np.newaxis] + down[:, np.newaxis, :]
    rows *= strips
    rows += np.arange(strips)
    sums = twice.take(rows) @ np.ones(strips, dtype=np.float32)  # (slopes, rows)
    best = int(np.square(sums).sum(axis=1).argmax())
    return float(slopes[best]), sums[best]


def _open_down(mask: Mask, size: int) -> Mask:
    """The pixels that are in a vertical run of at least `size`."""
    if size > len(mask):
        return np.zeros_like(mask)
    kept = mask[: len(mask) - size + 1].copy()
    for step in range(1, size):
        kept &= mask[step : len(mask) - size + 1 + step]
    opened = np.zeros_like(mask)
    for step in range(size):
        opened[step : step + len(kept)] |= kept
    return opened


def _grow_down(mask: Mask) -> Mask:
    """One pixel up and down."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    return grown


def _window_sums(mask: Mask, length: int) -> NDArray[np.int32]:
    """(H, W - length + 1) ink in each window along a row."""
    sums = np.zeros((mask.shape[0], mask.shape[1] + 1), dtype=np.int32)
    np.cumsum(mask, axis=1, out=sums[:, 1:], dtype=np.int32)
    return sums[:, length:] - sums[:, :-length]


def _spread_back(starts: Mask, length: int, width: int) -> Mask:
    """(H, W) the pixels of all windows that begin where `starts` is set."""
    edges = np.zeros((starts.shape[0], width + 1), dtype=np.int32)
    edges[:, : starts.shape[1]] += starts
    edges[:, length : length + starts.shape[1]] -= starts
    covered: Mask = np.cumsum(edges, axis=1)[:, :width] > 0
    return covered


def _middles(flags: NDArray[np.bool_]) -> list[int]:
    """The middle of each run of set flags."""
    edges = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    middles: list[int] = ((np.flatnonzero(edges > 0) + np.flatnonzero(edges < 0) - 1) // 2).tolist()
    return middles
