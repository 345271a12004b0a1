"""Segments -> the pieces that may be digits, framed for the model, with what is known of each."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.field_lattice import Lattice, Piece
from model.field_segments import Segments
from model.field_shape import find_slope
from model.preprocess import WORK_SIDE_PX, frame_ink

MAX_SEGMENTS: Final = 5  # of a piece
MAX_WIDTH: Final = 1.5  # of a piece, in digit heights
MAX_SPREAD: Final = 0.3  # free space inside a piece
MIN_HEIGHT: Final = 0.35
DIGIT_MASS: Final = 0.25  # of the square of a digit's height is ink; only a unit


class _Bounds(NamedTuple):
    """Of all segments, half open, each (S,)."""

    tops: NDArray[np.intp]
    bottoms: NDArray[np.intp]
    lefts: NDArray[np.intp]  # in the upright picture
    rights: NDArray[np.intp]
    true_lefts: NDArray[np.intp]  # in the slanted one
    true_rights: NDArray[np.intp]
    masses: NDArray[np.float64]


def make_lattice(segments: Segments, factor: int, corner: tuple[int, int]) -> Lattice:
    """Frame every run of segments that may be a digit.

    Args:
        segments: of the field.
        factor: px of the field for each px of the segments.
        corner: left and top of the segments' picture in the field, in px of the field.
    """
    bounds = _measure(segments)
    unit = segments.height_px
    num = len(segments)
    gaps = np.zeros(num + 1)
    gaps[1:num] = (bounds.lefts[1:] - bounds.rights[:-1]) / unit
    cuts = np.zeros(num + 1)
    cuts[1:num] = segments.cuts
    gaps[cuts > 0] = 0.0
    runs = _runs(bounds, gaps, unit)
    middles_x = (bounds.lefts + bounds.rights) / 2
    middles_y = (bounds.tops + bounds.bottoms) / 2
    is_tall = bounds.bottoms - bounds.tops >= 0.6 * unit
    slope = find_slope(middles_x[is_tall], middles_y[is_tall])
    level = float(np.median((middles_y - slope * middles_x)[is_tall])) if is_tall.any() else 0.0
    pieces, images, shapes = [], [], []
    for start, end in runs:
        some = slice(start, end)
        top, bottom = int(bounds.tops[some].min()), int(bounds.bottoms[some].max())
        left, right = int(bounds.lefts[some].min()), int(bounds.rights[some].max())
        numbers = segments.numbers[top:bottom, left:right]
        inside = ((numbers > start) & (numbers <= end)) | (numbers == 0)
        images.append(frame_ink(segments.ink[top:bottom, left:right] * inside))
        true_left = int(bounds.true_lefts[some].min())
        true_right = int(bounds.true_rights[some].max())
        x, y = true_left * factor + corner[0], top * factor + corner[1]
        pieces.append(
            Piece(start, end, (x, y, (true_right - true_left) * factor, (bottom - top) * factor))
        )
        drop = (top + bottom) / 2 - level - slope * (left + right) / 2
        spread = float(gaps[start + 1 : end].max(initial=0.0))
        shapes.append(((bottom - top) / unit, (right - left) / unit, drop / unit, spread))
    heights, widths, drops, spreads = np.array(shapes).reshape(-1, 4).T
    return Lattice(
        pieces=tuple(pieces),
        images=np.stack(images),
        num_nodes=num + 1,
        heights=heights,
        widths=widths,
        drops=drops,
        spreads=spreads,
        gaps=gaps,
        cuts=cuts,
        masses=bounds.masses / (DIGIT_MASS * unit * unit),
        sizes=(bounds.bottoms - bounds.tops) / unit,
    )


def _runs(bounds: _Bounds, gaps: NDArray[np.float64], unit: float) -> list[tuple[int, int]]:
    """First and last (half open) segment of each piece."""
    num = len(bounds.tops)
    limit = min(MAX_WIDTH * unit, float(WORK_SIDE_PX))
    runs = []
    for start in range(num):
        for end in range(start + 1, min(start + MAX_SEGMENTS, num) + 1):
            if end > start + 1 and gaps[end - 1] > MAX_SPREAD:
                break
            some = slice(start, end)
            width = bounds.rights[some].max() - bounds.lefts[some].min()
            if width > limit and end > start + 1:
                break
            height = bounds.bottoms[some].max() - bounds.tops[some].min()
            if height >= MIN_HEIGHT * unit:
                runs.append((start, end))
    return runs


def _measure(segments: Segments) -> _Bounds:
    numbers = segments.numbers
    places = np.flatnonzero(numbers)
    owners = numbers.ravel()[places]
    order = np.argsort(owners, kind="stable")
    places, owners = places[order], owners[order]
    firsts = np.flatnonzero(np.diff(owners, prepend=0))
    rows, columns = np.divmod(places, numbers.shape[1])
    up = numbers.shape[0] / 2 - np.arange(numbers.shape[0]) - 0.5
    true = columns + np.rint(segments.slant * up).astype(np.intp)[rows] - segments.pad_px
    ink = segments.ink.ravel()[places]
    return _Bounds(
        tops=np.minimum.reduceat(rows, firsts),
        bottoms=np.maximum.reduceat(rows, firsts) + 1,
        lefts=np.minimum.reduceat(columns, firsts),
        rights=np.maximum.reduceat(columns, firsts) + 1,
        true_lefts=np.minimum.reduceat(true, firsts),
        true_rights=np.maximum.reduceat(true, firsts) + 1,
        masses=np.add.reduceat(ink, firsts).astype(np.float64),
    )
