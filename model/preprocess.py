"""Crop -> image: frame one scan crop the way MNIST frames a digit.

One function a step: find paper and ink (Otsu), drop what is not the digit (`model.clutter`), scale
the digit to a 20 px box, put its centre of mass in the middle of 28x28, mark where the crop's edge
cuts its strokes. A crop that is in MNIST's frame already is passed through (`model.mnist_frame`).
Knows nothing about files, batches or the model.

Source:
    LeCun et al., MNIST: 20 px box keeping the aspect, then centre of mass.
    Otsu, "A threshold selection method from gray-level histograms", 1979.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.cleaning import clean, clean_inside, may_be_boxed
from model.clutter import find_clutter
from model.components import connected_parts, ink_bounds
from model.errors import BlankCrop
from model.framed import BOX_PX, SIDE_PX, Framed
from model.mnist_frame import may_be_in_mnist_frame, pass_through
from model.tones import find_tones

WORK_SIDE_PX: Final = 128  # larger crops are first reduced by a whole factor: bounds the time
INK: Final = 0.5  # more pen than paper
FAINT_INK: Final = 0.19  # ink darker than this joins parts into one component
MARK_PX: Final = 2  # of the image's border: shows where the crop's edge cuts a stroke

_MOMENTS: Final = np.stack([np.ones(SIDE_PX), np.arange(SIDE_PX)]).astype(np.float32)


def preprocess(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Frame one scan crop the way MNIST frames a digit.

    Args:
        crop: (H, W) uint8, any polarity, size and margin.

    Returns:
        (1, 28, 28) float32 in [0, 1], ink bright, mass centred.

    Raises:
        BlankCrop: nothing stands out from the paper.
    """
    return frame(crop).image


def frame(crop: NDArray[np.uint8]) -> Framed:
    """Frame like `preprocess`, and return what was found in the crop beside the image.

    Args:
        crop: (H, W) uint8, any polarity, size and margin.

    Raises:
        BlankCrop: nothing stands out from the paper.
    """
    if may_be_in_mnist_frame(crop):
        already = pass_through(crop[np.newaxis])[0]
        if already is not None:
            return already
    return _frame_scan(crop)


def frame_many(crops: Sequence[NDArray[np.uint8]]) -> list[Framed | BlankCrop]:
    """Frame each crop as `frame` does, and test all of them for MNIST's frame in one call.

    For 32 crops that test takes a sixth of the time of 32 calls; measured by
    `python -m loadtest bench --parts stages` (preprocess_us_28_of_32).

    Args:
        crops: (H, W) uint8 each, any polarity, size and margin.

    Returns:
        One outcome for each crop, in order; for a blank crop its error.
    """
    return [one for one in frame_within(crops, lambda: True) if one is not None]


def frame_within(
    crops: Sequence[NDArray[np.uint8]], has_time: Callable[[], bool]
) -> list[Framed | BlankCrop | None]:
    """Frame crops as `frame_many` does, until the time is over; always the first.

    Nothing but framing tells how long a crop takes: a plain one 0.15 ms, one full of lines a
    hundred times as long.

    Args:
        crops: (H, W) uint8 each.
        has_time: asked before each crop that is not in MNIST's frame.

    Returns:
        One outcome for each crop, in order; None: it is not framed yet.
    """
    likely = [row for row, crop in enumerate(crops) if may_be_in_mnist_frame(crop)]
    outcomes: list[Framed | BlankCrop | None] = [None] * len(crops)
    if likely:
        together = np.concatenate([crops[row] for row in likely])
        tested = pass_through(together.reshape(-1, SIDE_PX, SIDE_PX))
        for row, already in zip(likely, tested, strict=True):
            outcomes[row] = already
    is_first = True
    for row, crop in enumerate(crops):
        if outcomes[row] is None:
            if not has_time() and not is_first:
                break
            outcomes[row] = _frame_or_error(crop)
            is_first = False
    return outcomes


def _frame_or_error(crop: NDArray[np.uint8]) -> Framed | BlankCrop:
    try:
        return _frame_scan(crop)
    except BlankCrop as error:
        return error.with_traceback(
            None
        )  # a traceback keeps the stack frames and the outcomes alive


def _frame_scan(crop: NDArray[np.uint8]) -> Framed:
    """Frame a crop that is not in MNIST's frame."""
    grey = _reduce(crop)
    grey, tones, num_lines = clean(grey, find_tones(grey))
    bounds = ink_bounds(tones.is_ink)
    ink = tones.ink_of(grey[bounds[0] : bounds[1], bounds[2] : bounds[3]])
    box = _to_box(ink)
    faint = box > FAINT_INK
    if may_be_boxed(faint):
        grey, tones, num_inside = clean_inside(grey, tones)
        if num_inside:
            num_lines += num_inside
            bounds = ink_bounds(tones.is_ink)
            ink = tones.ink_of(grey[bounds[0] : bounds[1], bounds[2] : bounds[3]])
            box = _to_box(ink)
            faint = box > FAINT_INK
    parts = connected_parts(faint)
    dropped: list[NDArray[np.bool_]] = []
    if len(parts) > 1:
        dropped = find_clutter(box, parts, bounds, grey.shape)
    if dropped:
        ink, bounds = _erase_parts(ink, bounds, box.shape, dropped)
        box = _to_box(ink)
    top, bottom, left, right = bounds
    height, width = grey.shape
    touched = (top == 0, bottom == height, left == 0, right == width)
    return Framed(
        image=_centre(box, touched),
        inverted=tones.inverted,
        passed_through=False,
        num_parts=len(parts) - len(dropped),
        num_dropped=len(dropped) + num_lines,
        aspect=(right - left) / (bottom - top),
        edges_touched=sum(touched),
    )


def frame_ink(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """Frame ink that is cut out already, as `preprocess` frames what it finds in a crop.

    Args:
        ink: (H, W), 0 paper to 1 pen, cut to the bounds of the ink.

    Returns:
        (1, 28, 28) float32 in [0, 1].
    """
    return _centre(_to_box(ink), (False, False, False, False))


def _reduce(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average whole blocks until the longest side is at most 128 px."""
    factor = -(-max(crop.shape) // WORK_SIDE_PX)
    if factor == 1:
        return crop
    return np.asarray(Image.fromarray(crop).reduce(factor))


def _to_box(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale (H, W) ink so that its longest side is 20 px, keeping the aspect."""
    height, width = ink.shape
    scale = BOX_PX / max(height, width)
    rows = _resampling(height, max(1, round(height * scale)))
    columns = _resampling(width, max(1, round(width * scale)))
    # Two small matrix products take a third of the time of Pillow's resize
    # (python -m loadtest bench --parts stages).
    box: NDArray[np.float32] = np.matmul(np.matmul(rows, ink), columns.T)
    return box


@cache
def _resampling(source_px: int, target_px: int) -> NDArray[np.float32]:
    """(target, source) weights of a triangle filter that widens when it shrinks (antialiasing)."""
    scale = source_px / target_px
    centres = (np.arange(target_px)[:, np.newaxis] + 0.5) * scale
    distance = np.abs(np.arange(source_px)[np.newaxis] + 0.5 - centres) / max(scale, 1.0)
    weights = np.maximum(1.0 - distance, 0.0)
    normed: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normed.astype(np.float32)


def _erase_parts(
    ink: NDArray[np.float32],
    bounds: tuple[int, int, int, int],
    box_shape: tuple[int, ...],
    dropped: list[NDArray[np.bool_]],
) -> tuple[NDArray[np.float32], tuple[int, int, int, int]]:
    """Erase the dropped parts (masks at box scale) from the ink (at crop scale), and crop it again.

    Raises:
        BlankCrop: no ink is left.
    """
    mask = np.logical_or.reduce(dropped)
    rows = np.arange(ink.shape[0]) * box_shape[0] // ink.shape[0]
    columns = np.arange(ink.shape[1]) * box_shape[1] // ink.shape[1]
    kept = np.where(mask[rows[:, np.newaxis], columns], np.float32(0.0), ink)
    # The digit may be fainter than the printed line beside it, so the darkest ink left is the pen.
    darkest = float(kept.max())
    if darkest < FAINT_INK:
        raise BlankCrop(
            "the crop has only printed lines; check where it is cut, and whether the field is empty"
        )
    top, bottom, left, right = ink_bounds(kept > INK * darkest)
    whole_top, _, whole_left, _ = bounds
    inner = (whole_top + top, whole_top + bottom, whole_left + left, whole_left + right)
    return kept[top:bottom, left:right], inner


def _centre(
    box: NDArray[np.float32], touched: tuple[bool, bool, bool, bool]
) -> NDArray[np.float32]:
    """Put the centre of mass of a <= 20x20 box in the middle of 28x28; the most ink becomes 1.

    Args:
        box: the ink.
        touched: whether it reaches the crop's top, bottom, left and right.
    """
    height, width = box.shape
    # [[mass, column moment], [row moment, _]] in two products.
    moments = _MOMENTS[:, :height] @ box @ _MOMENTS[:, :width].T
    mass = float(moments[0, 0])
    top = round(SIDE_PX / 2 - float(moments[1, 0]) / mass)
    left = round(SIDE_PX / 2 - float(moments[0, 1]) / mass)
    top = min(max(top, 0), SIDE_PX - height)
    left = min(max(left, 0), SIDE_PX - width)
    image = np.zeros((1, SIDE_PX, SIDE_PX), dtype=np.float32)
    ink = image[0, top : top + height, left : left + width]
    np.multiply(box, np.float32(1.0) / np.maximum.reduce(box, axis=None), out=ink)
    # Ink at all four edges is a tight crop, of which nothing can be told.
    if any(touched) and not all(touched):
        _mark_cuts(image[0], ink.copy(), (top, left), touched)
    return image


def _mark_cuts(
    image: NDArray[np.float32],
    ink: NDArray[np.float32],
    place: tuple[int, int],
    touched: tuple[bool, bool, bool, bool],
) -> None:
    """Copy the ink at each touched edge of the crop to the image's border on that side.

    Half an 8 is a good 3; only the strokes that end at the crop's edge tell them apart.
    """
    at_top, at_bottom, at_left, at_right = touched
    rows = slice(place[0], place[0] + ink.shape[0])
    columns = slice(place[1], place[1] + ink.shape[1])
    for is_cut, border, cut in (
        (at_top, image[:MARK_PX, columns], ink[0]),
        (at_bottom, image[-MARK_PX:, columns], ink[-1]),
        (at_left, image[rows, :MARK_PX], ink[:, :1]),
        (at_right, image[rows, -MARK_PX:], ink[:, -1:]),
    ):
        if is_cut:
            np.maximum(border, cut, out=border)
