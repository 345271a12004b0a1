"""A field image -> a lattice of candidate digits -> the code that it shows.

A field is one image with all digits of a code, as a scanner cuts it out. The order of calls:

    parts = split_field(field, max_digits)
    lattice = parts.whole                                    # its parts, none of them cut
    scores = classifier(lattice.images)                      # one batch
    probs = softmax(scores.logits, policy.temperature)
    reading = read_field(lattice, probs, scores.garbage, ...)

Where `reading.is_settled`, each digit is a part of its own: most fields, in a third of the time.
Otherwise the same with `lattice = cut_apart(parts, find_uncut(parts, reading, ...))`, which has
these pieces and more, until `find_uncut` returns None.
Knows nothing about files, batches or the model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model.field_ink import FieldInk, find_ink, find_ink_within
from model.field_lattice import (
    FieldDigit,
    FieldReading,
    Lattice,
    NoDigits,
    Piece,
    TooManyPieces,
)
from model.field_lines import take_lines_out
from model.field_pieces import make_lattice
from model.field_reading import Possible, find_singles, read_field
from model.field_segments import (
    Groups,
    Upright,
    cut_segments,
    find_groups,
    make_upright,
    whole_segments,
)

__all__ = [
    "FieldDigit",
    "FieldParts",
    "FieldReading",
    "Lattice",
    "NoDigits",
    "Piece",
    "Possible",
    "TooManyPieces",
    "cut_apart",
    "find_pieces",
    "find_singles",
    "find_uncut",
    "read_at_once",
    "read_field",
    "split_field",
]

INK: Final = 0.35  # more of the pen: joins the parts of one stroke
LINE_INK: Final = 0.18  # printed lines are thin and often grey
LEAST_HEIGHT_PX: Final = 26.0  # of digits: they go into a box of 20 px
GOOD_HEIGHT_PX: Final = 36.0

# Images (N, 1, 28, 28) -> (N, 10) probabilities, (N,) garbage scores.
Score = Callable[[NDArray[np.float32]], tuple[NDArray[np.float64], NDArray[np.floating[Any]]]]


@dataclass(frozen=True, slots=True)
class FieldParts:
    """The ink of a field in parts that do not touch."""

    whole: Lattice  # runs of whole parts
    groups: Groups
    factor: int  # px of the field for each px of the groups
    corner: tuple[int, int]  # left and top of the groups' picture in the field


def split_field(field: NDArray[np.uint8], max_digits: int) -> FieldParts:
    """Split a field into candidate digits that do not touch others.

    Args:
        field: (H, W) uint8, any polarity, up to 4 Mpx.
        max_digits: most digits that the code may have, at most 12.

    Raises:
        BlankCrop: nothing stands out from the paper.
        NoDigits: no ink is as high as a digit.
        TooManyPieces: there is more separate ink than a code can have.
    """
    found = find_ink(field)
    upright = _make_upright(found)
    if found.factor > 1 and 0 < upright.height_px < LEAST_HEIGHT_PX:
        factor = max(1, int(found.factor * upright.height_px / GOOD_HEIGHT_PX))
        if factor < found.factor:
            found = _look_nearer(field, found, upright, factor)
            upright = _make_upright(found)
    groups = find_groups(upright, max_digits)
    corner = (
        found.left + upright.left * found.factor,
        found.top + upright.top * found.factor,
    )
    whole = make_lattice(whole_segments(groups), found.factor, corner)
    return FieldParts(whole, groups, found.factor, corner)


def cut_apart(parts: FieldParts, is_single: Sequence[bool]) -> Lattice:
    """Candidate digits, those that touch others, too; single parts stay whole."""
    return make_lattice(cut_segments(parts.groups, is_single), parts.factor, parts.corner)


def find_pieces(field: NDArray[np.uint8], max_digits: int) -> Lattice:
    """All candidate digits of a field; arguments and errors as of `split_field`."""
    parts = split_field(field, max_digits)
    return cut_apart(parts, [False] * len(parts.groups.parts))


def read_at_once(
    field: NDArray[np.uint8],
    score: Score,
    *,
    num_digits: tuple[int, int],
    possible: Possible | None,
    threshold: float,
    garbage_threshold: float,
) -> FieldReading:
    """Read a field in one call, where nothing else waits for the model.

    Args:
        field: as for `split_field`, with its errors.
        score: reads the images of pieces.
        num_digits: this and the rest as for `read_field`.
        possible: which prefixes are possible.
        threshold: of an accepted code.
        garbage_threshold: of a digit.
    """
    parts = split_field(field, num_digits[1])
    read = partial(
        read_field,
        num_digits=num_digits,
        possible=possible,
        threshold=threshold,
        garbage_threshold=garbage_threshold,
    )
    lattice, is_single = parts.whole, None
    while True:
        probs, garbage = score(lattice.images)
        reading = read(lattice, probs, garbage)
        is_single = find_uncut(
            parts,
            reading,
            garbage,
            is_single,
            least_digits=num_digits[0],
            garbage_threshold=garbage_threshold,
        )
        if is_single is None:
            return reading
        lattice = cut_apart(parts, is_single)


def find_uncut(
    parts: FieldParts,
    reading: FieldReading,
    garbage: NDArray[np.floating[Any]],
    is_single: tuple[bool, ...] | None,
    *,
    least_digits: int,
    garbage_threshold: float,
) -> tuple[bool, ...] | None:
    """Which parts stay whole in the next lattice; None: the reading is final.

    Args:
        parts: of the field.
        reading: of the last lattice.
        garbage: (N,) the scores of its pieces.
        is_single: which parts stayed whole in it; None: no part was cut yet.
        least_digits: of the code.
        garbage_threshold: the policy's.
    """
    if is_single is None:
        if reading.is_settled:
            return None
        return find_singles(
            parts.whole, garbage, least_digits=least_digits, garbage_threshold=garbage_threshold
        )
    if reading.rejected_because is None and any(is_single):
        return (False,) * len(is_single)  # a code with cuts must hold against all others
    return None


def _make_upright(found: FieldInk) -> Upright:
    """Without printed lines."""
    ruled = take_lines_out(found.ink > LINE_INK)
    ink = np.where(ruled.lines, np.float32(0.0), found.ink) if ruled.num_lines else found.ink
    return make_upright(ink, ink > INK)


def _look_nearer(
    field: NDArray[np.uint8], found: FieldInk, upright: Upright, factor: int
) -> FieldInk:
    """The part of a field that has ink, less reduced, where its digits became too small."""
    height, width = upright.ink.shape
    margin = round(upright.height_px / 2)
    top, left = max(0, upright.top - margin), max(0, upright.left - margin)
    bottom, right = upright.top + height + margin, upright.left + width + margin
    box = tuple(side * found.factor for side in (top, bottom, left, right))
    return find_ink_within(field, box, factor)
