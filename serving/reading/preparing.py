"""Sources -> framed crops: decode, then frame. The error of a bad crop is a value."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.classifier import IMAGE_SHAPE
from model.decode import decode
from model.errors import BlankCrop, CropError
from model.framed import Framed
from model.preprocess import frame_many
from serving.reading.crop_cost import Source
from serving.reading.outcomes import without_frames


# A NamedTuple made by position: a frozen dataclass takes twice as long to make
# (`python -m loadtest bench --parts latency`).
class Prepared(NamedTuple):
    """One crop on its way to the model."""

    crop: NDArray[np.uint8] | None  # (H, W); None: the sender gave an image
    framed: Framed | None
    image: NDArray[np.float32] | None  # (1, 28, 28); None: blank, or not framed yet
    decode_ms: float
    preprocess_ms: float
    is_framed: bool = False


def prepare(sources: Sequence[Source | Prepared]) -> list[Prepared | CropError]:
    """Decode and frame crops; one that is prepared stays as it is.

    Returns:
        One outcome for each source, in order; the error of a bad crop is a value.
    """
    decoded = [_decode(source) for source in sources]
    crops = [
        one.crop
        for one in decoded
        if isinstance(one, Prepared) and not one.is_framed and one.crop is not None
    ]
    if not crops:
        return decoded
    started = time.perf_counter()
    outcomes = iter(frame_many(crops))
    preprocess_ms = (time.perf_counter() - started) * 1e3 / len(crops)
    return [
        one
        if isinstance(one, CropError) or one.is_framed or one.crop is None
        else _framed(one, next(outcomes), preprocess_ms)
        for one in decoded
    ]


def _decode(source: Source | Prepared) -> Prepared | CropError:
    if isinstance(source, bytes):
        started = time.perf_counter()
        try:
            crop = decode(source)
        except CropError as error:
            return without_frames(error)
        return Prepared(crop, None, None, (time.perf_counter() - started) * 1e3, 0.0)
    if isinstance(source, Prepared):
        return source
    if source.ndim == len(IMAGE_SHAPE):
        return Prepared(None, None, source.astype(np.float32, copy=False), 0.0, 0.0)
    return Prepared(source.view(np.uint8), None, None, 0.0, 0.0)


def _framed(one: Prepared, outcome: Framed | BlankCrop, preprocess_ms: float) -> Prepared:
    if isinstance(outcome, BlankCrop):
        return Prepared(one.crop, None, None, one.decode_ms, preprocess_ms, is_framed=True)
    return Prepared(one.crop, outcome, outcome.image, one.decode_ms, preprocess_ms, is_framed=True)
