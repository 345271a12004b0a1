"""A field image -> a lattice of candidate digits -> the code that it shows.

A field is one image with all digits of a code, as a scanner cuts it out. The order of calls:

    lattice = find_pieces(field, max_digits)
    scores = classifier(lattice.images)                      # one batch
    probs = softmax(scores.logits, policy.temperature)
    read_field(lattice, probs, scores.garbage, ...)

Knows nothing about files, batches or the model.
"""

from typing import Final

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
from model.field_reading import Possible, read_field
from model.field_segments import Upright, find_segments, make_upright

__all__ = [
    "FieldDigit",
    "FieldReading",
    "Lattice",
    "NoDigits",
    "Piece",
    "Possible",
    "TooManyPieces",
    "find_pieces",
    "read_field",
]

INK: Final = 0.35  # more of the pen: joins the parts of one stroke
LINE_INK: Final = 0.18  # printed lines are thin and often grey
LEAST_HEIGHT_PX: Final = 26.0  # of digits: they go into a box of 20 px
GOOD_HEIGHT_PX: Final = 36.0


def find_pieces(field: NDArray[np.uint8], max_digits: int) -> Lattice:
    """Split a field into candidate digits.

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
    segments = find_segments(upright, max_digits)
    left, top = found.left + upright.left * found.factor, found.top + upright.top * found.factor
    return make_lattice(segments, found.factor, (left, top))


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
