"""What a crop will cost: predicted seconds, and which are too costly for the model's thread."""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.decode_cost import predict_decode_ms, predict_px
from model.framed import SIDE_PX

# A PNG or JPEG file, a (H, W) uint8 crop, or a (1, 28, 28) float32 image, framed by its sender.
Source = bytes | NDArray[np.uint8] | NDArray[np.float32]

# `python -m loadtest bench --parts stages` measures these.
CROP_S: Final = 0.00008  # to infer and decide, and to pass a crop in MNIST's frame through
PIECE_S: Final = 0.003  # of a bulk request in one batch; other senders run between two pieces
COSTLY_S: Final = 0.005  # above it, a crop is decoded and framed on a thread beside the model's
LATER_S: Final = 0.002  # at most, to frame a crop that its batch had no time for
_FRAME_S: Final = 0.00015  # to frame a crop that is not in MNIST's frame
_S_PER_PX: Final = 1e-9  # to reduce a larger crop to 128 px
_SPLIT_S: Final = 0.006  # to split a field image, which is reduced first
_SPLIT_S_PER_PX: Final = 1e-9  # to reduce it
_MAX_FRAMED_PX: Final = SIDE_PX * SIDE_PX
_MAX_FRAMED_BYTES: Final = 1_024  # a file of a crop in MNIST's frame is smaller


def cost_s(source: Source) -> float:
    """Predicted seconds to read one crop."""
    if isinstance(source, bytes):
        frame_s = _FRAME_S if len(source) > _MAX_FRAMED_BYTES else 0.0
        return CROP_S + frame_s + predict_decode_ms(source) * 1e-3
    frame_s = _FRAME_S if source.size > _MAX_FRAMED_PX else 0.0
    return CROP_S + frame_s + source.size * _S_PER_PX


def split_s(data: bytes) -> float:
    """Predicted seconds to decode a field image and to split it into candidate digits."""
    return _SPLIT_S + predict_decode_ms(data) * 1e-3 + predict_px(data) * _SPLIT_S_PER_PX


def pieces(sources: Iterable[Source], max_crops: int) -> Iterator[tuple[int, int, float]]:
    """Cut a bulk request into pieces that each occupy the model for a short time.

    A piece is cut when it is asked for: to look at 256 files at once could take a second.

    Args:
        sources: all crops.
        max_crops: in one piece.

    Yields:
        (start, end, predicted seconds) of each piece, in order. A costly crop is its own piece.
    """
    start, end, piece_s = 0, 0, 0.0
    for source in sources:
        crop_s = cost_s(source)
        if end > start and (end - start == max_crops or piece_s + crop_s > PIECE_S):
            yield start, end, piece_s
            start, piece_s = end, 0.0
        piece_s += crop_s
        end += 1
    if end:
        yield start, end, piece_s
