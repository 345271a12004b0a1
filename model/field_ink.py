"""A field -> its ink at a working size: reduced, with even light, whichever polarity it has.

Knows nothing about digits.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.shading import even_out
from model.tones import find_tones

WORK_AREA_PX: Final = 40_000  # a field of more is reduced by a whole factor: bounds the time
MIN_HEIGHT_PX: Final = 40  # and not below this, for a field that is long
SHADE_WINDOW_FRAC: Final = 0.3  # of the field's height: wider than a stroke


class FieldInk(NamedTuple):
    """A field's ink at the working size."""

    ink: NDArray[np.float32]  # (H, W): 0 paper, 1 pen
    factor: int  # px of the field for each px
    left: int  # of this part in the field, in px of the field
    top: int


def find_ink(field: NDArray[np.uint8]) -> FieldInk:
    """The ink of a whole field.

    Raises:
        BlankCrop: nothing stands out from the paper.
    """
    factor = 1
    while (
        field.size > WORK_AREA_PX * factor * factor
        and field.shape[0] >= MIN_HEIGHT_PX * (factor + 1)
    ) or field.size > 4 * WORK_AREA_PX * factor * factor:
        factor += 1
    grey = _reduced(field, factor)
    tones = find_tones(grey)
    # Where the paper is even, this takes 0.1 ms.
    evened = even_out(grey, tones, round(SHADE_WINDOW_FRAC * grey.shape[0]))
    if evened is not None:
        grey, tones = evened
    return FieldInk(tones.ink_of(grey), factor, 0, 0)


def find_ink_within(field: NDArray[np.uint8], box: tuple[int, ...], factor: int) -> FieldInk:
    """The ink of a part of a field, at another size.

    Args:
        field: (H, W).
        box: top, bottom, left, right (half open) in px of the field.
        factor: to reduce it by.

    Raises:
        BlankCrop: nothing stands out from the paper.
    """
    top, bottom, left, right = box
    part = find_ink(_reduced(field[top:bottom, left:right], factor))
    return FieldInk(part.ink, factor * part.factor, left, top)


def _reduced(grey: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    if factor == 1:
        return grey
    return np.asarray(Image.fromarray(np.ascontiguousarray(grey)).reduce(factor))
