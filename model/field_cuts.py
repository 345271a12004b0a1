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

ASIDE_COST: Final = 0.25  # of an ink pixel, for a step aside
WINDOW_FRAC: Final = 0.1  # of the digits' height: a seam is the cheapest so far on both sides
MAX_STROKES: Final = 2.6  # a seam that crosses more ink cuts no touching digits apart
SIDE_HEIGHT: Final = 0.45  # of a digit: what a seam cuts off is higher
SIDE_INK: Final = 0.5  # of a straight stroke of a digit's height
APART_INK: Final = 0.35  # of such a stroke: between two seams there is more
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
    down, up = _accumulate(ink), _accumulate(ink[::-1])[::-1]
    window = max(2, int(WINDOW_FRAC * height_px))
    found = _candidates(ink, down, up, parts, window, MAX_STROKES * stroke_px)
    paths = _follow(down, up, found)
    seams: list[list[Seam]] = []
    for number, part in enumerate(parts):
        chosen = np.flatnonzero(found.owners == number)
        rows = slice(part.top, part.top + part.inside.shape[0])
        columns = (paths[chosen, rows] - part.left).clip(-1, part.inside.shape[1] - 1)
        strokes = np.maximum(found.costs[chosen], 0.0) / stroke_px
        seams.append(_choose(part, columns, strokes, stroke_px * height_px, height_px))
    return seams


def _candidates(
    ink: NDArray[np.float32],
    down: NDArray[np.float32],
    up: NDArray[np.float32],
    parts: Sequence[Part],
    window: int,
    limit: float,
) -> _Candidates:
    """The seams that are the cheapest around at some level of a part."""
    owners, costs, rows, columns = [], [], [], []
    for number, part in enumerate(parts):
        height, width = part.inside.shape
        for level in LEVELS if part.most and width > 4 else ():
            row, first = part.top + int(level * height), part.left + 1
            inner = np.s_[first : first + width - 2]
            # Both sums have the row itself.
            through = down[row, inner] + up[row, inner] - ink[row, inner]
            places = _valleys(through, window)
            places = places[through[places] <= limit]
            owners += [number] * len(places)
            rows += [row] * len(places)
            costs += through[places].tolist()
            columns += (places + first).tolist()
    best = np.argsort(costs, kind="stable")[:MAX_SEAMS]
    return _Candidates(
        np.array(owners, dtype=np.intp)[best],
        np.array(costs, dtype=np.float32)[best],
        np.array(rows, dtype=np.intp)[best],
        np.array(columns, dtype=np.intp)[best],
    )


def _accumulate(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """The cheapest way from the first row to each pixel."""
    costs = ink.copy()
    best = np.empty_like(ink[0])
    for row in range(1, len(ink)):
        before = costs[row - 1]
        aside = before + np.float32(ASIDE_COST)
        best[:] = before
        np.minimum(best[1:], aside[:-1], out=best[1:])
        np.minimum(best[:-1], aside[1:], out=best[:-1])
        costs[row] += best
    return costs


def _valleys(costs: NDArray[np.float32], window: int) -> NDArray[np.intp]:
    """Places that are the lowest within a window; the middle one of a flat valley."""
    padded = np.full(len(costs) + 2 * window, np.inf, dtype=np.float32)
    padded[window:-window] = costs
    lowest = np.lib.stride_tricks.sliding_window_view(padded, 2 * window + 1).min(axis=1)
    flags = np.zeros(len(costs) + 2, dtype=np.int8)
    flags[1:-1] = costs <= lowest + 1e-6
    edges = np.diff(flags)
    middles: NDArray[np.intp] = (np.flatnonzero(edges > 0) + np.flatnonzero(edges < 0) - 1) // 2
    return middles


def _follow(
    down: NDArray[np.float32], up: NDArray[np.float32], found: _Candidates
) -> NDArray[np.intp]:
    """(K, H) the column of each candidate's cheapest seam, in each row."""
    height, width = down.shape
    paths = np.zeros((height, len(found.rows)), dtype=np.intp)
    aside = np.array([[0.0], [ASIDE_COST], [ASIDE_COST]], dtype=np.float32)
    steps = np.array([[0], [-1], [1]])
    every = np.arange(len(found.rows))
    for costs, rows, is_past in (
        (down, range(height - 1, -1, -1), np.less),
        (up, range(height), np.greater),
    ):
        at = found.columns
        for row in rows:
            near = (at + steps).clip(0, width - 1)
            best = (costs[row].take(near) + aside).argmin(axis=0)
            at = np.where(is_past(row, found.rows), near[best, every], at)
            paths[row] = np.where(is_past(row, found.rows), at, paths[row])
    paths[found.rows, every] = found.columns
    return paths.T


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
    left = upto[np.arange(len(upto)), columns + 1]  # (K, h) ink on the left side
    right = upto[:, -1] - left
    is_cut = np.ones(len(columns), dtype=np.bool_)
    for side in (left, right):
        has_ink = side > 0
        extent = len(upto) - has_ink.argmax(axis=1) - has_ink[:, ::-1].argmax(axis=1)
        is_cut &= side.sum(axis=1) >= SIDE_INK * unit_ink
        is_cut &= extent >= SIDE_HEIGHT * height_px
    chosen: list[int] = []
    for number in np.flatnonzero(is_cut).tolist():
        if len(chosen) == part.most:
            break
        between = np.abs(left[chosen] - left[number]).sum(axis=1)
        if (between >= APART_INK * unit_ink).all():
            chosen.append(number)
    chosen.sort(key=lambda number: int(left[number].sum()))
    return [Seam(columns[number], float(strokes[number])) for number in chosen]
