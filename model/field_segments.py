"""A field's ink -> segments in the order of writing: parts of ink, and what seams cut them into."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.components import ink_bounds
from model.field_cuts import Part, Seam, find_seams
from model.field_labels import Parts, find_parts
from model.field_lattice import NoDigits, TooManyPieces
from model.field_shape import digit_height, find_slant, straighten

MIN_HEIGHT_PX: Final = 7.0  # of a digit, at the working size
SPECK_FRAC: Final = 0.15  # of the digits' height: smaller parts are dirt
FLAT_FRAC: Final = 0.16  # of it: a lower part below the digits is a rest of a line
CUT_WIDTH_FRAC: Final = 0.38  # of it: narrower parts are not cut
LEAST_CUTS: Final = 3
WIDTH_A_CUT: Final = 0.12  # of it: a part of that width more may be cut once more
INSIDE_FRAC: Final = 0.6  # of its width above or below another part: both are one segment
LEAST_CUT: Final = 0.05  # strokes, of a cut through a hair line
TALL_FRAC: Final = 0.6  # of the digits' height: no fragment
BESIDE_FRAC: Final = 0.1  # of it: a flat part lies so near the digits' foot or lower
ABOVE_FRAC: Final = 0.2  # of it: a flat part so far above is no bar of a 5
MAX_TOGETHER: Final = 1.4  # of it: higher parts are of two lines of writing
PARTS_A_DIGIT: Final = 4  # more parts for each digit are noise


class Upright(NamedTuple):
    """A field's ink without slant, cut to its bounds."""

    ink: NDArray[np.float32]  # (H, W) 0 paper to 1 pen
    parts: Parts
    height_px: float  # of a digit; 0: there is no ink
    slant: float
    top: int  # of this picture in the slanted one
    left: int
    middle: float  # row of this picture that did not move


@dataclass(frozen=True, slots=True)
class Groups:
    """The ink of a field that may be digits: parts one above the other are one group."""

    upright: Upright
    parts: tuple[Part, ...]  # from left to right
    most: int  # segments that they may be cut into


@dataclass(frozen=True, slots=True)
class Segments:
    """The segments of a field, made upright, from left to right."""

    numbers: NDArray[np.int32]  # (H, W): 0 paper or dirt, else the segment's number from 1
    upright: Upright
    cuts: tuple[float, ...]  # strokes cut between a segment and the next; 0: they are apart

    def __len__(self) -> int:
        return len(self.cuts) + 1


def make_upright(ink: NDArray[np.float32], mask: NDArray[np.bool_]) -> Upright:
    """Take the slant out of ink, without what is left of lines.

    Args:
        ink: (H, W) 0 paper to 1 pen.
        mask: (H, W) what of it is pen.
    """
    if not mask.any():
        return Upright(ink, find_parts(mask), 0.0, 0.0, 0, 0, 0.0)
    top, bottom, left, right = ink_bounds(mask)
    ink, mask = ink[top:bottom, left:right], mask[top:bottom, left:right]
    slant = find_slant(mask)
    pad = 0
    if slant:
        places, pad = straighten(mask.shape[0], mask.shape[1], slant)
        ink = _free_column(ink).ravel().take(places)
        mask = _free_column(mask).ravel().take(places)
    parts = find_parts(mask)
    return Upright(ink, parts, digit_height(parts), slant, top, left - pad, (bottom - top) / 2)


def find_groups(upright: Upright, max_digits: int) -> Groups:
    """The parts of ink without lines that may be digits, or several that touch.

    Raises:
        NoDigits: nothing is as high as a digit.
        TooManyPieces: there are more parts than digits can have.
    """
    parts, height_px = upright.parts, upright.height_px
    if height_px < MIN_HEIGHT_PX:
        raise NoDigits(
            f"the field's ink is {height_px:.0f} px high at the working size; a digit has at least "
            f"{MIN_HEIGHT_PX:.0f} px; check where the field is cut, and whether it is empty"
        )
    kept = _without_dirt(parts, height_px)
    if len(kept) > PARTS_A_DIGIT * max_digits:
        raise TooManyPieces(
            f"the field has {len(kept)} separate parts of ink; a code of {max_digits} digits has "
            f"at most {PARTS_A_DIGIT * max_digits}; send the code's field alone, without noise"
        )
    groups = _join_broken(parts, kept, height_px)
    pieces = tuple(_part(parts, group, height_px) for group in groups)
    return Groups(upright, pieces, PARTS_A_DIGIT * max_digits)


def whole_segments(groups: Groups) -> Segments:
    """Each group is one segment."""
    return _number(groups, [[] for _ in groups.parts])


def cut_segments(groups: Groups, is_single: Sequence[bool]) -> Segments:
    """The groups that may be several digits, cut wherever they may be cut."""
    upright = groups.upright
    parts = [
        part._replace(most=0) if single else part
        for part, single in zip(groups.parts, is_single, strict=True)
    ]
    found = find_seams(upright.ink, parts, _stroke_px(upright.parts), upright.height_px)
    strokes = sorted(seam.strokes for seams in found for seam in seams)
    spare = groups.most - len(groups.parts)
    if len(strokes) > spare:
        found = [[seam for seam in seams if seam.strokes < strokes[spare]] for seams in found]
    return _number(groups, found)


def _free_column(picture: NDArray[Any]) -> NDArray[Any]:
    return np.pad(picture, ((0, 0), (0, 1)))


def _without_dirt(parts: Parts, height_px: float) -> list[int]:
    """The parts that may belong to digits, from left to right."""
    heights, widths = parts.bottoms - parts.tops, parts.rights - parts.lefts
    middles = (parts.lefts + parts.rights) / 2
    is_tall = heights >= TALL_FRAC * height_px
    nearest = np.abs(middles[:, np.newaxis] - middles[is_tall]).argmin(axis=1)
    level = (parts.tops + parts.bottoms) / 2
    is_outside = (level > parts.bottoms[is_tall][nearest] - BESIDE_FRAC * height_px) | (
        parts.bottoms < parts.tops[is_tall][nearest] - ABOVE_FRAC * height_px
    )
    is_flat = (heights < FLAT_FRAC * height_px) & (widths > 1.5 * heights)
    is_dirt = (np.maximum(heights, widths) < SPECK_FRAC * height_px) | (is_flat & is_outside)
    order = np.argsort(middles, kind="stable")
    kept: list[int] = order[~is_dirt[order]].tolist()
    return kept


def _join_broken(parts: Parts, kept: list[int], height_px: float) -> list[list[int]]:
    """Groups of parts that are one above the other: a 5 and its loose bar, a broken stroke."""
    groups: list[list[int]] = []
    bounds: list[tuple[int, int, int, int]] = []
    for part in kept:
        box = tuple(int(side[part]) for side in parts[1:5])
        top, bottom, left, right = box
        for number in range(len(groups) - 1, max(-1, len(groups) - 4), -1):
            other_top, other_bottom, other_left, other_right = bounds[number]
            overlap = min(right, other_right) - max(left, other_left)
            low = min(bottom - top, other_bottom - other_top)
            together = max(bottom, other_bottom) - min(top, other_top)
            if (
                overlap >= INSIDE_FRAC * min(right - left, other_right - other_left)
                and low < TALL_FRAC * height_px
                and together <= MAX_TOGETHER * height_px
            ):
                groups[number].append(part)
                bounds[number] = (
                    min(top, other_top),
                    max(bottom, other_bottom),
                    min(left, other_left),
                    max(right, other_right),
                )
                break
        else:
            groups.append([part])
            bounds.append((top, bottom, left, right))
    return groups


def _number(groups: Groups, seams: list[list[Seam]]) -> Segments:
    """Number the segments that seams make of the groups."""
    numbers = np.zeros(groups.upright.parts.labels.shape, dtype=np.int32)
    cuts: list[float] = []
    first = 1
    for part, found in zip(groups.parts, seams, strict=True):
        window = np.s_[
            part.top : part.top + part.inside.shape[0], part.left : part.left + part.inside.shape[1]
        ]
        if found:
            sides, kept = _sides(part.inside, found)
            numbers[window][part.inside] = first + sides[part.inside]
            cuts += [max(seam.strokes, LEAST_CUT) for seam in kept]
            first += len(kept)
        else:
            numbers[window][part.inside] = first
        cuts.append(0.0)
        first += 1
    return Segments(numbers, groups.upright, tuple(cuts[:-1]))


def _sides(inside: NDArray[np.bool_], seams: list[Seam]) -> tuple[NDArray[np.int32], list[Seam]]:
    """How many seams are left of each pixel; of seams that cross, some may be left out."""
    kept = list(seams)
    while True:
        sides = np.zeros(inside.shape, dtype=np.int32)
        for seam in kept:
            sides += np.arange(inside.shape[1]) > seam.columns[:, np.newaxis]
        if np.bincount(sides[inside], minlength=len(kept) + 1).all():
            return sides, kept
        del kept[max(range(len(kept)), key=lambda number: kept[number].strokes)]


def _part(parts: Parts, group: list[int], height_px: float) -> Part:
    """The ink of a group, and how often it may be cut."""
    top, bottom = int(parts.tops[group].min()), int(parts.bottoms[group].max())
    left, right = int(parts.lefts[group].min()), int(parts.rights[group].max())
    labels = parts.labels[top:bottom, left:right]
    inside = labels == group[0] + 1
    for part in group[1:]:
        inside |= labels == part + 1
    spare = (right - left) / height_px - CUT_WIDTH_FRAC
    most = LEAST_CUTS + int(spare / WIDTH_A_CUT) if spare > 0 else 0
    return Part(inside, top, left, most)


def _stroke_px(parts: Parts) -> float:
    """The pen's width.

    A stroke's length in a row and in a column give its width, in whichever direction it runs.
    """
    mask = parts.labels > 0
    area = float(np.count_nonzero(mask))
    across = np.count_nonzero(mask[:, 1:] & ~mask[:, :-1]) + np.count_nonzero(mask[:, 0])
    down = np.count_nonzero(mask[1:] & ~mask[:-1]) + np.count_nonzero(mask[0])
    return max(1.0, area / float(np.hypot(across, down)))
