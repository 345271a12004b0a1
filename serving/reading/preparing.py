"""Sources -> framed crops: decode, then frame. The error of a bad crop is a value.

A batch of crops is framed within a time, because nothing predicts how long framing takes. What is
left then goes into a later batch, so that its senders' neighbours do not wait for it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.classifier import IMAGE_SHAPE
from model.decode import decode
from model.errors import BlankCrop, CropError
from model.framed import Framed
from model.preprocess import frame_within
from serving.reading.crop_cost import Source
from serving.reading.outcomes import without_frames

FRAMING_S: Final = 0.006  # processor time of one batch


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


class NotFramed(Exception):
    """The outcome of a crop that its batch had no time to frame: to be read in another batch.

    Args:
        decoded: the crop.
        framing_s: that it will probably take: the median of the crops framed before it.
    """

    def __init__(self, decoded: Prepared, framing_s: float) -> None:
        super().__init__("not framed yet")
        self.decoded = decoded
        self.framing_s = framing_s


def prepare(
    sources: Sequence[Source | Prepared], clock: Callable[[], float] = time.thread_time
) -> list[Prepared | CropError | NotFramed]:
    """Decode and frame crops; one that is prepared stays as it is.

    Args:
        sources: crops.
        clock: seconds of processor time.

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
        return list(decoded)
    outcomes = iter(_frame(crops, clock))
    return [
        one
        if isinstance(one, CropError) or one.is_framed or one.crop is None
        else _framed(one, *next(outcomes))
        for one in decoded
    ]


def _frame(
    crops: Sequence[NDArray[np.uint8]], clock: Callable[[], float]
) -> Iterator[tuple[Framed | BlankCrop | None, float]]:
    """Frame crops within FRAMING_S; each outcome with its own milliseconds.

    An outcome of None has the milliseconds that it will probably take.
    """
    started = clock()
    times_s: list[float] = []

    def has_time() -> bool:
        times_s.append(clock())
        return times_s[-1] < started + FRAMING_S

    outcomes = frame_within(crops, has_time)
    times_s.append(clock())
    tested_ms = (times_s[0] - started) * 1e3 / len(crops)  # for MNIST's frame, together
    usual_ms = float(np.median(np.diff(times_s))) * 1e3 if len(times_s) > 1 else 0.0
    scan = 0
    for outcome in outcomes:
        if isinstance(outcome, Framed) and outcome.passed_through:
            yield outcome, tested_ms
        elif outcome is not None:
            scan += 1
            yield outcome, tested_ms + (times_s[scan] - times_s[scan - 1]) * 1e3
        else:
            yield None, usual_ms


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


def _framed(
    one: Prepared, outcome: Framed | BlankCrop | None, preprocess_ms: float
) -> Prepared | NotFramed:
    if outcome is None:
        return NotFramed(one, preprocess_ms * 1e-3)
    if isinstance(outcome, BlankCrop):
        return Prepared(one.crop, None, None, one.decode_ms, preprocess_ms, is_framed=True)
    return Prepared(one.crop, outcome, outcome.image, one.decode_ms, preprocess_ms, is_framed=True)
