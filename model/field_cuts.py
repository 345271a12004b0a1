"""Where touching digits may be cut apart: seams from top to bottom that cross little ink.

A seam moves by at most one pixel aside from row to row, so it follows the free space between two
digits and crosses the stroke where they touch. All seams of a field are found in one pass over its
rows, and followed in another. Knows nothing about digits but their height.

Source:
    Avidan and Shamir, "Seam carving for content-aware image resizing", 2007 (the recurrence).
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

ASIDE_COST: Final = 0.15  # of an ink pixel, for a step aside
MAX_STROKES: Final = 6.0  # a seam that crosses more ink cuts no touching digits apart
SIDE_HEIGHT: Final = 0.3  # of a digit: what a seam cuts off is higher
SIDE_INK: Final = 0.5  # of a straight stroke of a digit's height
APART_INK: Final = 0.45  # of such a stroke: between two seams there is more
STEP_FRAC: Final = 0.12  # of a digit's height, between straight cuts
STRAIGHT_COST: Final = 1.5  # of an ink pixel: seams come first
SLOPES: Final = (0.0, 0.3, -0.3)  # of straight cuts, to the right for each px down
SAME_INK: Final = 0.15  # of such a stroke: less between them tells no two seams apart
MAX_COMPARED: Final = 64  # seams of a part, cheapest first: bounds the time
MAX_SEAMS: Final = 256  # that are followed: bounds the time
LEVELS: Final = (0.25, 0.4, 0.5, 0.6, 0.75)  # of a part's rows: seams are chosen there


class Part(NamedTuple):
    """Connected ink that may be several digits."""

    inside: NDArray[np.bool_]  # (h, w) within its bounds
    top: int
    left: int
    most: int  # seams at most


class Seam(NamedTuple):
    """One possible cut of a part."""

    columns: NDArray[np.intp]  # (h,) the last column of the left side, from the part's left
    strokes: float  # ink that it crosses, in stroke widths


class _Candidates(NamedTuple):
    """Pixels that seams go through, of all parts."""

    owners: NDArray[np.intp]  # (K,) the part's number
    costs: NDArray[np.float32]
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]


def find_seams(
    ink: NDArray[np.float32], parts: Sequence[Part], stroke_px: float, height_px: float
) -> list[list[Seam]]:
    """The possible cuts of each part, from left to right.

    Args:
        ink: (H, W) 0 paper to 1 pen.
        parts: of it.
        stroke_px: width of the pen.
        height_px: of a digit.
    """
    if not any(part.most for part in parts):
        return [[] for _ in parts]
    costs, steps = _accumulate(ink)
    found = _candidates((costs[:, 0], costs[::-1, 1]), ink, parts, MAX_STROKES * stroke_px)
    paths = _follow((steps[:, 0], steps[:, 1]), found)
    seams: list[list[Seam]] = []
    for number, part in enumerate(parts):
        chosen = np.flatnonzero(found.owners == number)
        rows = slice(part.top, part.top + part.inside.shape[0])
        columns = (paths[chosen, rows] - part.left).clip(-1, part.inside.shape[1] - 1)
        straight, crossed = _straight(part, height_px)
        columns = np.concatenate([columns, straight])
        strokes = np.maximum(np.concatenate([found.costs[chosen], crossed]), 0.0) / stroke_px
        order = np.argsort(strokes, kind="stable")
        order = order[strokes[order] <= MAX_STROKES]
        seams.append(
            _choose(part, columns[order], strokes[order], stroke_px * height_px, height_px)
        )
    return seams


def _candidates(
    costs: tuple[NDArray[np.float32], NDArray[np.float32]],
    ink: NDArray[np.float32],
    parts: Sequence[Part],
    limit: float,
) -> _Candidates:
    """The seams that are the cheapest around at some level."""
    rows = (np.array(LEVELS) * len(ink)).astype(np.intp)
    # Both sums have the row itself.
    through = costs[0][rows] + costs[1][rows] - ink[rows]
    is_low = _valleys(through) & (through <= limit)
    found = []
    for number, part in enumerate(parts):
        height, width = part.inside.shape
        first = part.left + 1
        levels, places = np.nonzero(is_low[:, first : first + width - 2])
        inside = (rows[levels] >= part.top) & (rows[levels] < part.top + height)
        if part.most:
            found += [
                (float(through[level, first + x]), number, int(rows[level]), first + x)
                for level, x in zip(levels[inside].tolist(), places[inside].tolist(), strict=True)
            ]
    found.sort()
    found = found[:MAX_SEAMS]
    return _Candidates(
        np.array([one[1] for one in found], dtype=np.intp),
        np.array([one[0] for one in found], dtype=np.float32),
        np.array([one[2] for one in found], dtype=np.intp),
        np.array([one[3] for one in found], dtype=np.intp),
    )


def _accumulate(ink: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """The cheapest way to each pixel from the first row, and from the last one, upside down.

    Returns:
        (H, 2, W) its cost with the pixel's own ink; (H, 2, W) the step aside to the row before.
    """
    costs = np.stack([ink, ink[::-1]], axis=1)
    steps = np.zeros(costs.shape, dtype=np.int8)
    from_left, from_right = np.zeros((2, *costs.shape[1:]), dtype=np.bool_)
    for row in range(1, len(ink)):
        before, step = costs[row - 1], steps[row]
        aside = before + np.float32(ASIDE_COST)
        best = before.copy()
        np.less(aside[:, :-1], before[:, 1:], out=from_left[:, 1:])
        np.minimum(best[:, 1:], aside[:, :-1], out=best[:, 1:])
        np.less(aside[:, 1:], best[:, :-1], out=from_right[:, :-1])
        np.minimum(best[:, :-1], aside[:, 1:], out=best[:, :-1])
        np.subtract(from_right, from_left & ~from_right, out=step, dtype=np.int8)
        costs[row] += best
    return costs, steps


def _valleys(costs: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(L, W) where a row is the lowest within 2 px; in a flat valley every other pixel at most."""
    padded = np.full((costs.shape[0], costs.shape[1] + 4), np.inf, dtype=np.float32)
    padded[:, 2:-2] = costs
    lowest = np.minimum(padded[:, 3:-1], padded[:, 4:])
    np.minimum(lowest, padded[:, :-4], out=lowest)
    np.minimum(lowest, padded[:, 1:-3], out=lowest)
    is_low: NDArray[np.bool_] = costs <= lowest
    is_low[:, 1:] &= ~(is_low[:, :-1] & is_low[:, 1:] & (np.arange(1, costs.shape[1]) % 4 != 0))
    return is_low


def _follow(
    steps: tuple[NDArray[np.int8], NDArray[np.int8]], found: _Candidates
) -> NDArray[np.intp]:
    """(K, H) the column of each candidate's cheapest seam, in each row."""
    height = len(steps[0])
    paths = np.empty((height, len(found.rows)), dtype=np.intp)
    for way, rows, first in (
        (steps[0], range(height - 1, 0, -1), found.rows),
        (steps[1], range(height - 1, 0, -1), height - 1 - found.rows),
    ):
        # The second way is upside down; both go from the candidate to the first row.
        target = paths if way is steps[0] else paths[::-1]
        at = found.columns.copy()
        is_past = np.arange(height)[:, np.newaxis] <= first
        lowest = int(first.min(initial=0))
        for row in rows:
            moved = way[row].take(at)
            if row > lowest:
                moved = moved * is_past[row]
                at = at + moved
                target[row - 1] = np.where(is_past[row], at, target[row - 1])
            else:
                at = at + moved
                target[row - 1] = at
    paths[found.rows, np.arange(len(found.rows))] = found.columns
    return paths.T


def _straight(part: Part, height_px: float) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Straight cuts at even steps: where two strokes run into each other, no seam is cheap.

    Returns:
        (K, h) columns, from the part's left; (K,) px of ink that they cross.
    """
    height, width = part.inside.shape
    if not part.most:
        return np.zeros((0, height), dtype=np.intp), np.zeros(0, dtype=np.float32)
    aside = np.rint(np.multiply.outer(SLOPES, np.arange(height) - height / 2)).astype(np.intp)
    places = np.arange(1, width - 1)
    columns = (places[:, np.newaxis] + aside[:, np.newaxis]).clip(-1, width - 1)
    # Left of the first column is the free one that ends the row before.
    inside = np.pad(part.inside, ((0, 0), (0, 1))).ravel()
    flat = columns + np.arange(height) * (width + 1)  # (slopes, places, rows)
    crossed = inside.take(flat, mode="wrap").sum(axis=2, dtype=np.float32)
    step = max(2, round(STEP_FRAC * height_px))
    chosen = _valleys(crossed) | (places % step == 0)
    return columns[chosen], STRAIGHT_COST * crossed[chosen]


def _choose(
    part: Part,
    columns: NDArray[np.intp],
    strokes: NDArray[Any],
    unit_ink: float,
    height_px: float,
) -> list[Seam]:
    """The cheapest seams, of which each cuts off something, with ink between them.

    Args:
        part: that they cut.
        columns: (K, h) of the seams, cheapest first, from the part's left; -1: it is left of it.
        strokes: (K,) that they cross.
        unit_ink: px of ink of a straight stroke of a digit's height.
        height_px: of a digit.
    """
    upto = np.zeros((part.inside.shape[0], part.inside.shape[1] + 1), dtype=np.int32)
    np.cumsum(part.inside, axis=1, out=upto[:, 1:])
    flat = columns + 1 + np.arange(len(upto)) * upto.shape[1]
    left = upto.ravel().take(flat)  # (K, h) ink on the left side
    right = upto[:, -1] - left
    is_cut = np.ones(len(columns), dtype=np.bool_)
    for side in (left, right):
        has_ink = side > 0
        extent = len(upto) - has_ink.argmax(axis=1) - has_ink[:, ::-1].argmax(axis=1)
        is_cut &= side.sum(axis=1) >= SIDE_INK * unit_ink
        is_cut &= extent >= SIDE_HEIGHT * height_px
    good = np.flatnonzero(is_cut)
    # Many candidates are one seam: of those that part nearly the same ink, the cheapest goes on.
    middle = len(upto) // 2
    upper, lower = left[good, :middle].sum(axis=1), left[good, middle:].sum(axis=1)
    same = max(1, int(SAME_INK * unit_ink))
    _, firsts = np.unique(upper // same * upto.size + lower // same, return_index=True)
    good = good[np.sort(firsts)][:MAX_COMPARED]
    left = left[good].astype(np.float32)
    apart = (np.abs(left[:, np.newaxis] - left).sum(axis=2) >= APART_INK * unit_ink).tolist()
    chosen: list[int] = []
    for number, is_apart in enumerate(apart):
        if len(chosen) < part.most and all(is_apart[other] for other in chosen):
            chosen.append(number)
    order = left.sum(axis=1)
    chosen.sort(key=lambda number: float(order[number]))
    return [Seam(columns[good[one]], float(strokes[good[one]])) for one in chosen]
