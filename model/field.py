"""A field image -> a lattice of candidate digits -> the code that it shows.

A field is one image with all digits of a code, as a scanner cuts it out. The order of calls:

    lattice = find_pieces(field, max_digits)
    scores = classifier(lattice.images)                      # one batch
    probs = softmax(scores.logits, policy.temperature)
    read_field(lattice, probs, scores.garbage, ...)

Knows nothing about files, batches or the model.
"""

import numpy as np
from numpy.typing import NDArray

from model.field_lattice import (
    MAX_DIGITS,
    FieldDigit,
    FieldReading,
    Lattice,
    NoDigits,
    Piece,
    TooManyPieces,
)
from model.field_pieces import split
from model.field_reading import Possible, read_field

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
    return split(field, max_digits)
