"""Takes out of a crop what the scanner or the form added: uneven light, scan edges, boxes, rules.

Only a crop that looks suspect is cleaned; the others pay a few comparisons. Knows nothing about
digits beyond how much ink they have.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.components import ink_bounds
from model.errors import BlankCrop
from model.lines import (
    Line,
    Mask,
    find_lines,
    goes_past,
    grow_across,
    heal,
    is_tied,
    may_have_inner_lines,
)
from model.shading import even_out
from model.tones import Tones, find_tones

MIN_SIDE_PX: Final = 24  # a stroke of a digit in a smaller crop looks like a line
SUSPECT_EDGE_FRAC: Final = 0.9  # of one edge is ink: a digit that fills its crop has up to 0.75
SUSPECT_PEN_FRAC: Final = 0.5  # of the area is ink: it may be the paper inside a box
SUSPECT_CLEAR_EDGES: Final = 2  # and that many edges have none: the box is along them
SUSPECT_SEPARABILITY: Final = 0.75  # below: more than two tones
RULED_EDGE_FRAC: Final = 0.25  # of one edge is ink: more is a digit that fills its crop
SHADOW_SPREAD: Final = 10.0  # grey levels, of 4 px blocks: a shadow has ink in it, a scan edge not
SHADOW_LEAD_FRAC: Final = 0.1  # of the contrast
DIGIT_MIN_FRAC: Final = 0.006  # of the area: less ink beside the lines is no digit
DIGIT_SPAN_FRAC: Final = 0.2  # of the crop's longest side
PAPER_BORDER_FRAC: Final = 0.85  # of the rectangle inside the lines
PAPER_AREA_FRAC: Final = 0.55
CLEAR_EVIDENCE: Final = 1.7  # both together: no need to try the other polarity
MIN_BOX_SIDES: Final = 3  # a box inside the crop may be open on one side
MIN_BOX_PX: Final = 8
CORNER_PX: Final = 2
BLOCK_PX: Final = 4
RIM_PX: Final = 3
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
    if min(grey.shape) < MIN_SIDE_PX:
        return Cleaned(grey, tones, 0)
    if _is_covered(tones):
        cleaned = _take_lines_out(grey, tones)
        if cleaned is not None:
            return cleaned
        if tones.separability >= SUSPECT_SEPARABILITY and not _has_darker_than_edges(grey, tones):
            return Cleaned(grey, tones, 0)
        return _clean_evened(grey, tones)
    if tones.separability < SUSPECT_SEPARABILITY:
        return _clean_evened(grey, tones)
    if _may_be_ruled(tones):
        cleaned = _take_lines_out(grey, tones)
        if cleaned is not None:
            return cleaned
    return Cleaned(grey, tones, 0)


def _is_covered(tones: Tones) -> bool:
    """Whether a whole edge is ink, or a box along the border was taken for the paper."""
    return tones.edge_ink_frac >= SUSPECT_EDGE_FRAC or (
        tones.pen_frac >= SUSPECT_PEN_FRAC and tones.num_clear_edges >= SUSPECT_CLEAR_EDGES
    )


def _has_darker_than_edges(grey: NDArray[np.uint8], tones: Tones) -> bool:
    """Whether the darkest edge is lighter than the ink: a shadow is, a stroke or scan edge not."""
    edges = (grey[0], grey[-1], grey[:, 0], grey[:, -1])
    lead = min(float(np.median(edge)) for edge in edges) - float(np.percentile(grey, 2))
    return lead > SHADOW_LEAD_FRAC * abs(tones.paper - tones.pen)


def _may_be_ruled(tones: Tones) -> bool:
    """Whether the little ink on the crop's edges may be the ends of rules or of a grid."""
    lying, upright = tones.crosses_lying, tones.crosses_upright
    return (
        (lying or upright)
        and tones.edge_ink_frac <= RULED_EDGE_FRAC
        and may_have_inner_lines(tones.is_ink, lying=lying, upright=upright)
    )


def _clean_evened(grey: NDArray[np.uint8], tones: Tones) -> Cleaned:
    evened = even_out(grey, tones)
    if evened is None:
        return Cleaned(grey, tones, 0)
    grey, tones = evened
    cleaned = _take_lines_out(grey, tones) if _is_covered(tones) else None
    return Cleaned(grey, tones, 0) if cleaned is None else cleaned


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
    last_row, last_column = height - CORNER_PX, width - CORNER_PX
    return (
        _has_ink_near(box, 0, 0)
        and _has_ink_near(box, 0, last_column)
        and _has_ink_near(box, last_row, 0)
        and _has_ink_near(box, last_row, last_column)
    )


def _has_ink_near(box: Mask, row: int, column: int) -> bool:
    # Four look-ups take a third of the time of one reduction of a slice.
    return bool(
        box[row, column] or box[row + 1, column] or box[row, column + 1] or box[row + 1, column + 1]
    )


def _take_lines_out(grey: NDArray[np.uint8], tones: Tones) -> Cleaned | None:
    """The crop without its lines; None where there are none, or nothing but them."""
    inverted, lines = _find_polarity(tones)
    if inverted != tones.inverted:
        is_ink, paper, pen = ~tones.is_ink, tones.pen, tones.paper
        tones = tones._replace(is_ink=is_ink, inverted=inverted, paper=paper, pen=pen)
    if any(line.at_edge and _has_ink_inside(line, grey) for line in lines):
        return None
    lines = _removable(lines, tones.is_ink)
    if not lines:
        return None
    cleaned = _erase(lines, grey, tones)
    return Cleaned(cleaned, find_tones(cleaned, inverted=inverted), len(lines))


def _has_ink_inside(line: Line, grey: NDArray[np.uint8]) -> bool:
    """Whether strokes show in a line along the edge: then it is a shadow on the paper."""
    mask, grey = (line.mask.T, grey.T) if line.is_upright else (line.mask, grey)
    whole = np.flatnonzero(mask.all(axis=1))
    if len(whole) <= 2 * BLOCK_PX:
        return False
    # The last rows towards the inside are its blurred rim.
    whole = whole[:-RIM_PX] if whole[0] == 0 else whole[RIM_PX:]
    blocks = Image.fromarray(np.ascontiguousarray(grey[whole])).reduce(BLOCK_PX)
    return float(np.asarray(blocks).std()) > SHADOW_SPREAD


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


def _find_polarity(tones: Tones) -> tuple[bool, list[Line]]:
    """Whether the ink is light once lines along the edges are left out, and the lines then."""
    if not _is_covered(tones):
        return tones.inverted, find_lines(tones.is_ink)
    # Where no edge is all ink, a box was taken for the paper, so the other polarity is likelier.
    first = tones.inverted == (tones.edge_ink_frac >= SUSPECT_EDGE_FRAC)
    best, chosen = PAPER_BORDER_FRAC + PAPER_AREA_FRAC, (tones.inverted, list[Line]())
    for inverted in (first, not first):
        ink = tones.is_ink if inverted == tones.inverted else ~tones.is_ink
        lines = find_lines(ink)
        evidence = _paper_evidence(ink, lines)
        if evidence > best:
            best, chosen = evidence, (inverted, lines)
        if evidence >= CLEAR_EVIDENCE:
            break
    return chosen


def _paper_evidence(ink: Mask, lines: list[Line]) -> float:
    """Share of paper on the border and in the area inside the edge lines, added; 0 if too low."""
    edges = [line.mask for line in lines if line.at_edge]
    inner = _largest_rectangle(~np.logical_or.reduce(edges), ink) if edges else None
    if inner is None:
        return 0.0
    border = np.concatenate([inner[0], inner[-1], inner[:, 0], inner[:, -1]])
    border_frac, area_frac = 1.0 - float(border.mean()), 1.0 - float(inner.mean())
    is_paper = (
        border_frac >= PAPER_BORDER_FRAC and PAPER_AREA_FRAC <= area_frac <= 1.0 - DIGIT_MIN_FRAC
    )
    return border_frac + area_frac if is_paper else 0.0


def _largest_rectangle(free: Mask, ink: Mask) -> Mask | None:
    """The ink in the rows and columns that are mostly free of edge lines."""
    rows, columns = free.mean(axis=1), free.mean(axis=0)
    keep_rows = np.flatnonzero(rows >= 0.95 * rows.max())
    keep_columns = np.flatnonzero(columns >= 0.95 * columns.max())
    inner = ink[keep_rows[0] + 1 : keep_rows[-1], keep_columns[0] + 1 : keep_columns[-1]]
    return inner if min(inner.shape) >= 0.3 * min(ink.shape) else None
