"""Takes out of a crop what the scanner or the form added: uneven light, scan edges, boxes, rules.

Only a crop that looks suspect is cleaned; the others pay a few comparisons. Knows nothing about
digits beyond how much ink they have.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.components import ink_bounds
from model.errors import BlankCrop
from model.lines import Line, Mask, find_lines, goes_past, grow_across, heal, is_tied
from model.shading import even_out
from model.tones import Tones, find_tones

SUSPECT_EDGE_FRAC: Final = 0.5  # of one edge is ink
SUSPECT_PEN_FRAC: Final = 0.5  # of the area is ink
SUSPECT_SEPARABILITY: Final = 0.8  # below: more than two tones
SUSPECT_SEPARABILITY_INVERTED: Final = 0.87
DIGIT_MIN_FRAC: Final = 0.006  # of the area: less ink beside the lines is no digit
DIGIT_SPAN_FRAC: Final = 0.15  # of the crop's longest side
PAPER_BORDER_FRAC: Final = 0.85  # of the rectangle inside the lines
PAPER_AREA_FRAC: Final = 0.55
MIN_BOX_SIDES: Final = 3  # a box inside the crop may be open on one side
MIN_BOX_PX: Final = 8
CORNER_PX: Final = 2
_SET: Final = b"\x01"
EDGE_RIM_PX: Final = 2  # beside a line at the edge: its blur
INNER_RIM_PX: Final = 1


class Cleaned(NamedTuple):
    """A crop without what was added to it."""

    grey: NDArray[np.uint8]  # (H, W); the same object where there was nothing to clean
    tones: Tones
    num_lines: int  # taken out


def clean(grey: NDArray[np.uint8], tones: Tones) -> Cleaned:
    """Even out the light and take lines out, where the crop is suspect of having any.

    Args:
        grey: (H, W) uint8.
        tones: of this crop.

    Returns:
        The crop and its tones: the same objects where there was nothing to clean.

    Raises:
        BlankCrop: nothing is left beside the lines.
    """
    limit = SUSPECT_SEPARABILITY_INVERTED if tones.inverted else SUSPECT_SEPARABILITY
    is_uneven = tones.separability < limit
    is_covered = tones.pen_frac >= SUSPECT_PEN_FRAC or tones.edge_ink_frac >= SUSPECT_EDGE_FRAC
    if is_uneven or is_covered:
        evened = even_out(grey, tones)
        if evened is not None:
            grey, tones = evened
            is_covered = True
    if is_covered or tones.crosses:
        return _take_lines_out(grey, tones)
    return Cleaned(grey, tones, 0)


def clean_inside(grey: NDArray[np.uint8], tones: Tones) -> Cleaned:
    """Take out a box that lies inside the crop: the same, on the rectangle that the ink covers."""
    top, bottom, left, right = ink_bounds(tones.is_ink)
    inner = np.s_[top:bottom, left:right]
    cut = tones._replace(is_ink=tones.is_ink[inner])
    lines = find_lines(cut.is_ink)
    if sum(line.at_edge for line in lines) < MIN_BOX_SIDES:
        return Cleaned(grey, tones, 0)
    lines = _removable(lines, cut.is_ink)
    if not lines:
        return Cleaned(grey, tones, 0)
    cleaned = grey.copy()
    cleaned[inner] = _erase(lines, grey[inner], cut)
    return Cleaned(cleaned, find_tones(cleaned, inverted=tones.inverted), len(lines))


def may_be_boxed(box: Mask) -> bool:
    """Whether ink in its bounding box reaches all four corners, as a printed box does.

    Args:
        box: (H, W) of at most 20 px a side.
    """
    height, width = box.shape
    if min(height, width) < MIN_BOX_PX:
        return False
    packed = box.tobytes()
    return all(
        any(_SET in packed[row * width + column : row * width + column + CORNER_PX] for row in rows)
        for rows in (range(CORNER_PX), range(height - CORNER_PX, height))
        for column in (0, width - CORNER_PX)
    )


def _take_lines_out(grey: NDArray[np.uint8], tones: Tones) -> Cleaned:
    inverted = _find_polarity(tones)
    if inverted != tones.inverted:
        is_ink, paper, pen = ~tones.is_ink, tones.pen, tones.paper
        tones = tones._replace(is_ink=is_ink, inverted=inverted, paper=paper, pen=pen)
    lines = _removable(find_lines(tones.is_ink), tones.is_ink)
    if not lines:
        return Cleaned(grey, tones, 0)
    cleaned = _erase(lines, grey, tones)
    return Cleaned(cleaned, find_tones(cleaned, inverted=inverted), len(lines))


def _erase(lines: list[Line], grey: NDArray[np.uint8], tones: Tones) -> NDArray[np.uint8]:
    """The crop with paper in place of the lines, and strokes that cross them joined again."""
    ink = tones.is_ink
    rest = ink & ~_union([line.mask for line in lines], ink)
    rims = [grow_across(line, EDGE_RIM_PX if line.at_edge else INNER_RIM_PX) for line in lines]
    cleaned = grey.copy()
    cleaned[_union(rims, ink) & ~rest] = round(tones.paper)
    crossed = _union([heal(line, rest) for line in lines if not line.at_edge], ink)
    cleaned[crossed] = round(tones.pen)
    return cleaned


def _union(masks: list[Mask], like: Mask) -> Mask:
    return np.logical_or.reduce(masks) if masks else np.zeros_like(like)


def _removable(lines: list[Line], ink: Mask) -> list[Line]:
    """The lines that are no part of the digit; none if nothing else is left."""
    edge_lines = [line for line in lines if line.at_edge]
    uprights = [line for line in lines if line.is_upright]
    if len(lines) == 1 and uprights and not edge_lines:
        return []  # the stem of a 4 or 1
    rest = ink & ~_union([line.mask for line in lines], ink)
    if len(edge_lines) < 3:
        lines = [line for line in lines if not is_tied(line, rest) and goes_past(line, rest)]
        rest = ink & ~_union([line.mask for line in lines], ink)
    if not _has_a_digit(rest):
        if len(edge_lines) == 4:
            raise BlankCrop(
                "the crop has only printed lines; "
                "check where it is cut, and whether the field is empty"
            )
        return []
    return lines


def _has_a_digit(rest: Mask) -> bool:
    if np.count_nonzero(rest) < DIGIT_MIN_FRAC * rest.size:
        return False
    top, bottom, left, right = ink_bounds(rest)
    return bool(max(bottom - top, right - left) >= DIGIT_SPAN_FRAC * max(rest.shape))


def _find_polarity(tones: Tones) -> bool:
    """Whether the ink is light, once lines along the edges are left out."""
    if tones.pen_frac < SUSPECT_PEN_FRAC and tones.edge_ink_frac < SUSPECT_EDGE_FRAC:
        return tones.inverted
    best, inverted = PAPER_BORDER_FRAC + PAPER_AREA_FRAC, tones.inverted
    for candidate in (tones.inverted, not tones.inverted):
        ink = tones.is_ink if candidate == tones.inverted else ~tones.is_ink
        edges = [line.mask for line in find_lines(ink) if line.at_edge]
        if not edges:
            continue
        inner = _largest_rectangle(~np.logical_or.reduce(edges), ink)
        if inner is None:
            continue
        border = np.concatenate([inner[0], inner[-1], inner[:, 0], inner[:, -1]])
        border_frac, area_frac = 1.0 - border.mean(), 1.0 - inner.mean()
        evidence = float(border_frac + area_frac)
        if (
            evidence > best
            and border_frac >= PAPER_BORDER_FRAC
            and (PAPER_AREA_FRAC <= area_frac <= 1.0 - DIGIT_MIN_FRAC)
        ):
            best, inverted = evidence, candidate
    return inverted


def _largest_rectangle(free: Mask, ink: Mask) -> Mask | None:
    """The ink in the rows and columns that are mostly free of edge lines."""
    rows, columns = free.mean(axis=1), free.mean(axis=0)
    keep_rows = np.flatnonzero(rows >= 0.95 * rows.max())
    keep_columns = np.flatnonzero(columns >= 0.95 * columns.max())
    inner = ink[keep_rows[0] + 1 : keep_rows[-1], keep_columns[0] + 1 : keep_columns[-1]]
    return inner if min(inner.shape) >= 0.3 * min(ink.shape) else None
