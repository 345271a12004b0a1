"""Finds straight lines through a crop's ink: scan edges, boxes, rules, grids; takes them out.

A line runs from one side of the crop to the other, may be slanted by a few degrees, and has any
thickness at the crop's edge. Knows nothing about grey levels or polarity.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

FULL_FRAC: Final = 0.88  # of a row: inked this far, the row is part of a line
PARTIAL_FRAC: Final = 0.55  # of a row beside such a row: the line's ragged or blurred rim
EDGE_THICK_FRAC: Final = 0.5  # of the side: a scan edge may be this thick
INNER_THICK_FRAC: Final = 0.1  # of the side: a printed line inside the crop
TIE_FRAC: Final = 0.12  # of the side: a stroke that meets the line so near its end belongs to it
CLEAR_FRAC: Final = 0.08  # of the side: the digit keeps this far from the ends of a line
STRAY_FRAC: Final = 0.01  # of the remaining ink: dirt there does not count
UNIFORM_FRAC: Final = 0.7  # of its median thickness: a printed line is nowhere thinner
MIN_INSIDE_FRAC: Final = 0.8  # of a slanted row: less of it in the crop shows no line by itself
MAX_SLANT: Final = 0.15  # down for each px along
STRIPS: Final = 16
SLACK_FRAC: Final = 0.02  # of the side: a line may be so far from level where it is looked for
SLANTS_PX: Final = (0, 1, -1, 2, -2, 3, -3, 4, -4, 6, -6, 9, -9, 13, -13, 17, -17)
_PAD: Final = 9  # half of the largest slant

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Line:
    """One straight line across the crop."""

    mask: Mask  # (H, W), the line with its rim
    at_edge: bool  # it lies along the crop's edge
    thick_px: int
    is_upright: bool


def may_have_inner_lines(ink: Mask, *, lying: bool, upright: bool) -> bool:
    """Whether ink that reaches both ends of the crop may be a straight line between them.

    Args:
        ink: (H, W).
        lying: it touches the left and the right edge.
        upright: it touches the top and the bottom edge. With both, either it is a grid or a digit
            fills the crop, so there must be a line in each direction.
    """
    return (not lying or _passes_straight(ink)) and (not upright or _passes_straight(ink.T))


def _passes_straight(ink: Mask) -> bool:
    """Whether some row has ink near it at each of nine places from left to right.

    A column is one integer, a byte for each pixel: most digits are out after three columns.
    """
    last = ink.shape[1] - 1
    slack_px = int(SLACK_FRAC * len(ink))
    common = -1
    for place in (0, 8, 4, 2, 6, 1, 3, 5, 7):
        column = int.from_bytes(ink[:, last * place // 8].tobytes(), "little")
        near = column
        for step in range(8, 8 * slack_px + 1, 8):
            near |= column << step | column >> step
        common &= near
        if not common:
            return False
    return True


def find_lines(ink: Mask) -> list[Line]:
    """Every line that runs through the whole crop, lying and upright."""
    lying = [Line(*found, is_upright=False) for found in _lying_lines(ink)]
    turned = np.ascontiguousarray(ink.T)
    upright = [
        Line(mask.T, at_edge, thick, is_upright=True)
        for mask, at_edge, thick in _lying_lines(turned)
    ]
    return lying + upright


def _lying_lines(ink: Mask) -> list[tuple[Mask, bool, int]]:
    """Mask, at the edge, thickness of each line that runs from left to right."""
    height, width = ink.shape
    slanted = _slanted_rows(height, width)
    strips = len(slanted.sizes)
    counts = np.zeros((height + 2 * _PAD, strips), dtype=np.float32)
    counts[_PAD:-_PAD] = np.add.reduceat(ink, slanted.starts, axis=1, dtype=np.float32)
    # A flat take and a product with ones take a tenth of the time of indexing and a sum.
    inked = counts.take(slanted.places) @ np.ones(strips, dtype=np.float32)  # (slants, rows)
    inside_px = slanted.inside_px
    fill = inked / np.maximum(inside_px, 1.0)
    is_full = fill >= FULL_FRAC
    slants = np.abs(SLANTS_PX)
    score = (inked * is_full).sum(axis=1) * (1.0 - 0.002 * slants)
    score[slants > MAX_SLANT * width] = 0.0
    best = int(score.argmax())
    if score[best] < FULL_FRAC * MIN_INSIDE_FRAC * width:
        return []
    inside_frac = inside_px[best] / width
    shift = _shift(SLANTS_PX[best], width)
    found = []
    for start, end in _runs_with(is_full[best], fill[best] >= PARTIAL_FRAC):
        if inside_frac[start:end].max() < MIN_INSIDE_FRAC:
            continue
        first, last = start - _PAD, end - _PAD
        at_top, at_bottom = first + int(shift.min()) <= 1, last + int(shift.max()) >= height - 1
        thick = min(last, height) - max(first, 0)
        limit = EDGE_THICK_FRAC if at_top or at_bottom else INNER_THICK_FRAC
        if thick > max(2.0, limit * height):
            continue
        thickness = counts.take(slanted.places[best, start:end]).sum(axis=0) / slanted.sizes
        if thickness.min() < UNIFORM_FRAC * np.median(thickness) - 0.5:
            continue
        # A line at the edge is taken out up to the edge.
        low = -height if at_top else first
        high = 2 * height if at_bottom else last
        down = np.arange(height)[:, np.newaxis] - shift
        found.append(((down >= low) & (down < high), at_top or at_bottom, thick))
    return found


class _SlantedRows(NamedTuple):
    """Where the slanted rows of a crop lie among the sums over strips of columns."""

    starts: NDArray[np.intp]  # (strips,) first column of each
    sizes: NDArray[np.float32]  # (strips,) columns in each
    places: NDArray[np.intp]  # (slants, rows, strips) in the flat padded sums
    inside_px: NDArray[np.float32]  # (slants, rows) how much of each slanted row is in the crop


@lru_cache(maxsize=64)  # 0.3 MB each at 128 px
def _slanted_rows(height: int, width: int) -> _SlantedRows:
    strips = min(STRIPS, width)
    starts = np.arange(strips) * width // strips
    sizes = np.diff(np.append(starts, width)).astype(np.float32)
    rows = np.arange(height + 2 * _PAD)
    shifts = np.stack([_shift(slant, strips) for slant in SLANTS_PX])
    sheared = (rows[:, np.newaxis] + shifts[:, np.newaxis]).clip(0, len(rows) - 1)
    inside = ((sheared >= _PAD) & (sheared < height + _PAD)) @ sizes
    return _SlantedRows(starts, sizes, sheared * strips + np.arange(strips), inside)


def _shift(slant_px: int, length: int) -> NDArray[np.intp]:
    """How far down a line with this slant is at each of `length` places from left to right."""
    along = (np.arange(length) + 0.5) / length - 0.5
    return np.rint(slant_px * along).astype(np.intp)


def _runs_with(full: Mask, partial: Mask) -> list[tuple[int, int]]:
    """Start and end (half open) of each run of partial or full rows that has a full one."""
    flags = np.concatenate([[False], full | partial, [False]]).astype(np.int8)
    changes = np.flatnonzero(np.diff(flags)).tolist()
    runs = zip(changes[::2], changes[1::2], strict=True)
    return [(start, end) for start, end in runs if full[start:end].any()]


def is_tied(line: Line, rest: Mask) -> bool:
    """Whether a stroke of the remaining ink meets the line near one of its ends.

    The bar of a 7 or 5 in a tight crop is such a line; a printed line goes on past the digit.
    """
    mask, rest = (line.mask.T, rest.T) if line.is_upright else (line.mask, rest)
    reach = max(2, round(TIE_FRAC * mask.shape[1]))
    return any(
        bool((_grow_rows(mask[:, end], 2) & rest[:, end]).any())
        for end in (slice(None, reach), slice(-reach, None))
    )


def goes_past(line: Line, rest: Mask) -> bool:
    """Whether the line goes on past the remaining ink on both sides, as a printed line does."""
    rest = rest.T if line.is_upright else rest
    reach = max(2, round(CLEAR_FRAC * rest.shape[1]))
    few = max(2.0, STRAY_FRAC * np.count_nonzero(rest))
    ends = np.count_nonzero(rest[:, :reach]), np.count_nonzero(rest[:, -reach:])
    return bool(max(ends) <= few)


def _grow_rows(mask: Mask, by_px: int) -> Mask:
    grown = mask.copy()
    for _ in range(by_px):
        wider = grown.copy()
        wider[1:] |= grown[:-1]
        wider[:-1] |= grown[1:]
        grown = wider
    return grown


def grow_across(line: Line, by_px: int) -> Mask:
    """The line's mask, widened across its direction."""
    if line.is_upright:
        return _grow_rows(line.mask.T, by_px).T
    return _grow_rows(line.mask, by_px)


def heal(line: Line, rest: Mask) -> Mask:
    """The part of a line inside the crop that a stroke crosses: ink on both sides of it."""
    mask, rest = (line.mask.T, rest.T) if line.is_upright else (line.mask, rest)
    straight_down, wide_down = _pour(mask, rest, line.thick_px)
    straight_up, wide_up = _pour(mask[::-1], rest[::-1], line.thick_px)
    crossed = (straight_down & wide_up[::-1]) | (wide_down & straight_up[::-1])
    return crossed.T if line.is_upright else crossed


def _pour(mask: Mask, rest: Mask, thick_px: int) -> tuple[Mask, Mask]:
    """The line's pixels below the ink above it: straight down, and by up to 45 degrees aside."""
    straight, wide = rest.copy(), rest.copy()
    for _ in range(thick_px + 2):
        straight[1:] |= straight[:-1] & mask[1:]
        aside = wide.copy()
        aside[:, 1:] |= wide[:, :-1]
        aside[:, :-1] |= wide[:, 1:]
        wide[1:] |= aside[:-1] & mask[1:]
    return straight & mask, wide & mask
