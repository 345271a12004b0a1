"""Recognises 28x28 crops that MNIST's own procedure has framed; they are not framed again.

Framing twice costs accuracy. The test works on packed bits and on many crops at once. The time that
this saves: `python -m loadtest bench --parts stages` (preprocess_us_28, preprocess_us_28_of_32).
Plain twin: tests/model/reference_framing.py.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.framed import BOX_PX, MIN_CONTRAST, SIDE_PX, WHITE, Framed

CENTRE_SLACK_PX: Final = 0.52  # MNIST rounds the centre of mass to whole pixels

_EMPTY_ROWS: Final = (bytes(SIDE_PX), bytes([WHITE]) * SIDE_PX)  # ink bright, ink dark
# (784, 3): multiply a flattened crop by this to get mass, row moment, column moment.
_MASS_AND_MOMENTS: Final = (
    np.stack([np.ones((SIDE_PX, SIDE_PX)), *np.indices((SIDE_PX, SIDE_PX))], axis=-1)
    .reshape(-1, 3)
    .astype(np.float32)
)


def may_be_in_mnist_frame(crop: NDArray[np.uint8]) -> bool:
    """Tell cheaply whether `pass_through` may accept a crop: 28x28, first or last row all paper.

    A digit of 20 px leaves one of the two rows empty. Scanned paper has grain in both, so a scan
    skips `pass_through`, which would take a third of its framing time.
    """
    if crop.shape != (SIDE_PX, SIDE_PX):
        return False
    empty = _EMPTY_ROWS[int(crop[0, 0] == WHITE)]
    return empty in (crop[0].tobytes(), crop[-1].tobytes())


def pass_through(crops: NDArray[np.uint8]) -> list[Framed | None]:
    """Return each crop that is in MNIST's frame unchanged, as an image; None for the others.

    All crops go through numpy together, because one call costs the same for 1 crop as for 30.

    Args:
        crops: (N, 28, 28) uint8.
    """
    inverted = crops[:, 0, 0] == WHITE
    flip = -inverted.view(np.uint8)[:, np.newaxis, np.newaxis]  # 255 where inverted
    grey = np.bitwise_xor(crops, flip, order="C")
    flat = grey.reshape(len(grey), -1)
    ink = flat.astype(np.float32)
    moments = ink @ _MASS_AND_MOMENTS  # whole numbers below 2^24: exact
    fours = grey.view(np.uint32)  # four pixels at a time
    rows = _bits(np.bitwise_or.reduce(fours, axis=2) != 0)
    columns = _bits(np.bitwise_or.reduce(fours, axis=1).view(np.uint8) != 0)
    images = (ink * np.float32(1 / WHITE)).reshape(-1, 1, SIDE_PX, SIDE_PX)
    return [
        _framed_or_none(*measured)
        for measured in zip(
            images,
            moments.tolist(),
            rows,
            columns,
            flat.max(axis=1).tolist(),
            inverted.tolist(),
            strict=True,
        )
    ]


def _bits(filled: NDArray[np.bool_]) -> list[int]:
    """Turn each row of (N, 28) into an integer, one bit for each element."""
    bits: list[int] = np.packbits(filled, axis=1).view(">u4").ravel().tolist()
    return bits


def _framed_or_none(
    image: NDArray[np.float32],
    moments: tuple[float, float, float],
    rows: int,
    columns: int,
    darkest: int,
    inverted: bool,  # noqa: FBT001
) -> Framed | None:
    """The crop as an image if its centre of mass, extent and darkest ink are as in MNIST."""
    mass, down, across = moments
    middle = SIDE_PX / 2
    if (
        darkest < WHITE - MIN_CONTRAST
        or abs(down / mass - middle) > CENTRE_SLACK_PX
        or abs(across / mass - middle) > CENTRE_SLACK_PX
    ):
        return None
    height, width = _extent(rows), _extent(columns)
    if not BOX_PX - 1 <= max(height, width) <= BOX_PX:
        return None
    return Framed(
        image=image,
        inverted=inverted,
        passed_through=True,
        num_parts=1,
        num_dropped=0,
        aspect=width / height,
        edges_touched=0,
    )


def _extent(bits: int) -> int:
    """Distance in px from the first to the last set bit, both included."""
    return bits.bit_length() - (bits & -bits).bit_length() + 1
