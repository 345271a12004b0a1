"""Segments -> the pieces that may be digits, framed for the model, with what is known of each."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.field_lattice import MIN_HEIGHT, Lattice, Piece
from model.field_segments import Segments
from model.field_shape import find_slope
from model.preprocess import WORK_SIDE_PX, frame_ink

MAX_SEGMENTS: Final = 7  # of a piece
MAX_WIDTH: Final = 1.35  # of a piece, in digit heights
MAX_SPREAD: Final = 0.3  # free space inside a piece
DIGIT_MASS: Final = 0.25  # of the square of a digit's height is ink; only a unit


class _Bounds(NamedTuple):
    """Of all segments, half open, one for each."""

    tops: list[int]
    bottoms: list[int]
    lefts: list[int]  # in the upright picture
    rights: list[int]
    true_lefts: list[int]  # in the slanted one
    true_rights: list[int]
    masses: list[float]


def make_lattice(segments: Segments, factor: int, corner: tuple[int, int]) -> Lattice:
    """Frame every run of segments that may be a digit.

    Args:
        segments: of the field.
        factor: px of the field for each px of the segments.
        corner: left and top of the segments' picture in the field, in px of the field.
    """
    bounds = _measure(segments)
    unit, num = segments.upright.height_px, len(segments)
    tops, bottoms, lefts, rights, _, _, masses = (np.array(side) for side in bounds)
    gaps, cuts = np.zeros(num + 1), np.zeros(num + 1)
    gaps[1:num] = (lefts[1:] - rights[:-1]) / unit
    cuts[1:num] = segments.cuts
    gaps[cuts > 0] = 0.0
    boxes = _runs(bounds, gaps.tolist(), unit)
    middles_x, middles_y = (lefts + rights) / 2, (tops + bottoms) / 2
    is_tall = bottoms - tops >= 0.6 * unit
    slope = find_slope(middles_x[is_tall], middles_y[is_tall])
    level = float(np.median((middles_y - slope * middles_x)[is_tall])) if is_tall.any() else 0.0
    extents = np.array([(one.top, one.bottom, one.left, one.right) for one in boxes])
    top, bottom, left, right = extents.reshape(-1, 4).T
    return Lattice(
        pieces=tuple(_piece(one, bounds, factor, corner) for one in boxes),
        images=np.stack([_frame(one, segments) for one in boxes]),
        num_nodes=num + 1,
        heights=(bottom - top) / unit,
        widths=(right - left) / unit,
        drops=((top + bottom) / 2 - level - slope * (left + right) / 2) / unit,
        spreads=np.array([max(gaps[one.start + 1 : one.end], default=0.0) for one in boxes]),
        gaps=gaps,
        cuts=cuts,
        masses=masses / (DIGIT_MASS * unit * unit),
        sizes=(bottoms - tops) / unit,
    )


class _Run(NamedTuple):
    """A run of segments and its bounds in the upright picture."""

    start: int
    end: int
    top: int
    bottom: int
    left: int
    right: int


def _frame(run: _Run, segments: Segments) -> NDArray[np.float32]:
    """The image of a run: its ink, and the paper around it."""
    is_own = np.zeros(len(segments) + 1, dtype=np.float32)
    is_own[0] = 1.0
    is_own[run.start + 1 : run.end + 1] = 1.0
    window = np.s_[run.top : run.bottom, run.left : run.right]
    return frame_ink(segments.upright.ink[window] * is_own.take(segments.numbers[window]))


def _piece(run: _Run, bounds: _Bounds, factor: int, corner: tuple[int, int]) -> Piece:
    some = slice(run.start, run.end)
    left, right = min(bounds.true_lefts[some]), max(bounds.true_rights[some])
    box = (
        left * factor + corner[0],
        run.top * factor + corner[1],
        (right - left) * factor,
        (run.bottom - run.top) * factor,
    )
    return Piece(run.start, run.end, box)


def _runs(bounds: _Bounds, gaps: list[float], unit: float) -> list[_Run]:
    num = len(bounds.tops)
    limit = min(MAX_WIDTH * unit, float(WORK_SIDE_PX))
    runs = []
    for start in range(num):
        top, bottom = bounds.tops[start], bounds.bottoms[start]
        left, right = bounds.lefts[start], bounds.rights[start]
        for last in range(start, min(start + MAX_SEGMENTS, num)):
            top, bottom = min(top, bounds.tops[last]), max(bottom, bounds.bottoms[last])
            left, right = min(left, bounds.lefts[last]), max(right, bounds.rights[last])
            if last > start and (gaps[last] > MAX_SPREAD or right - left > limit):
                break
            if bottom - top >= MIN_HEIGHT * unit:
                runs.append(_Run(start, last + 1, top, bottom, left, right))
    return runs


def _measure(segments: Segments) -> _Bounds:
    numbers, upright = segments.numbers, segments.upright
    places = np.flatnonzero(numbers)
    owners = numbers.ravel()[places]
    order = np.argsort(owners, kind="stable")
    places, owners = places[order], owners[order]
    firsts = np.flatnonzero(np.diff(owners, prepend=0))
    rows, columns = np.divmod(places, numbers.shape[1])
    up = upright.middle - np.arange(numbers.shape[0]) - 0.5
    true = columns + np.rint(upright.slant * up).astype(np.intp)[rows]
    return _Bounds(
        tops=np.minimum.reduceat(rows, firsts).tolist(),
        bottoms=(np.maximum.reduceat(rows, firsts) + 1).tolist(),
        lefts=np.minimum.reduceat(columns, firsts).tolist(),
        rights=(np.maximum.reduceat(columns, firsts) + 1).tolist(),
        true_lefts=np.minimum.reduceat(true, firsts).tolist(),
        true_rights=(np.maximum.reduceat(true, firsts) + 1).tolist(),
        masses=np.add.reduceat(upright.ink.ravel()[places], firsts).tolist(),
    )
