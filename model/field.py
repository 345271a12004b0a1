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

from model.components import ink_bounds
from model.field_ink import FieldInk, find_ink, find_ink_within
from model.field_labels import find_parts
from model.field_lattice import (
    MAX_DIGITS,
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
from model.field_segments import find_segments
from model.field_shape import digit_height

__all__ = [
    "MAX_DIGITS",
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
    mask = _without_lines(found)
    height_px = digit_height(find_parts(mask))
    if found.factor > 1 and 0 < height_px < LEAST_HEIGHT_PX:
        nearer = _look_nearer(field, found, mask, height_px)
        if nearer is not None:
            found = nearer
            mask = _without_lines(found)
    segments = find_segments(found.ink, mask, max_digits)
    return make_lattice(segments, found.factor, (found.left, found.top))


def _without_lines(found: FieldInk) -> NDArray[np.bool_]:
    """What is pen and no printed line; erases the lines from the ink."""
    ruled = take_lines_out(found.ink > LINE_INK)
    if ruled.num_lines:
        found.ink[ruled.lines] = 0.0
    mask: NDArray[np.bool_] = found.ink > INK
    return mask


def _look_nearer(
    field: NDArray[np.uint8], found: FieldInk, mask: NDArray[np.bool_], height_px: float
) -> FieldInk | None:
    """The part of a field that has ink, less reduced, where its digits became too small."""
    factor = max(1, int(found.factor * height_px / GOOD_HEIGHT_PX))
    if factor == found.factor:
        return None
    top, bottom, left, right = ink_bounds(mask)
    margin = round(height_px / 2)
    box = (
        max(0, top - margin) * found.factor,
        min(mask.shape[0], bottom + margin) * found.factor,
        max(0, left - margin) * found.factor,
        min(mask.shape[1], right + margin) * found.factor,
    )
    return find_ink_within(field, box, factor)
