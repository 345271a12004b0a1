"""Crop -> image: frame one scan crop the way MNIST frames a digit.

The pipeline, each step one function below: find paper and ink (Otsu), drop what is not the digit
(specks, box lines, a neighbour's stroke), scale the digit to a 20 px box, put its centre of mass
in the middle of 28x28. Knows nothing about files, batches or the model.

Source:
    LeCun et al., MNIST: 20 px box keeping the aspect, then centre of mass.
    Otsu, "A threshold selection method from gray-level histograms", 1979.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.errors import BlankCrop

SIDE_PX: Final = 28
WHITE: Final = 255
BOX_PX: Final = 20
WORK_SIDE_PX: Final = 128  # larger crops are first reduced by a whole factor: bounds the time
MIN_CONTRAST: Final = 20.0  # grey levels between paper and ink; scanner noise stays below
SPECK_FRAC: Final = 0.04  # of the ink: a smaller separate part is dirt
LINE_SPAN_FRAC: Final = 0.8  # of the crop's side: a longer thin part at its edge is a box line
LINE_THICK_FRAC: Final = 0.2
NEIGHBOUR_FRAC: Final = 0.2  # of the ink: a smaller part cut by the crop's edge is a neighbour's
BESIDE_LINE_FRAC: Final = 0.1  # of the ink: less beside a box line is no digit
INK: Final = 0.5  # more pen than paper
FAINT_INK: Final = 0.19  # ink darker than this joins parts into one component
PAPER_SPREAD_FRAC: Final = 0.15  # of the way to the pen: still paper, with its grain
OTSU_SAMPLE_PX: Final = 64 * 64
CENTRE_SLACK_PX: Final = 0.52  # MNIST rounds the centre of mass to whole pixels

_EMPTY_ROWS: Final = (bytes(SIDE_PX), bytes([WHITE]) * SIDE_PX)  # ink bright, ink dark
_SET: Final = b"\x01"  # True, as numpy keeps it
_LEVELS: Final = np.arange(256, dtype=np.float64)
_MOMENTS: Final = np.stack([np.ones(SIDE_PX), np.arange(SIDE_PX)]).astype(np.float32)
# (784, 3): a flat crop times this is its mass, its row moment and its column moment.
_MASS_AND_MOMENTS: Final = (
    np.stack([np.ones((SIDE_PX, SIDE_PX)), *np.indices((SIDE_PX, SIDE_PX))], axis=-1)
    .reshape(-1, 3)
    .astype(np.float32)
)


class Framed(NamedTuple):  # a frozen dataclass takes three times as long to make
    """What the model will see of a crop, and what was noticed on the way."""

    image: NDArray[np.float32]  # (1, 28, 28) in [0, 1], ink bright
    inverted: bool  # the crop was light ink on dark paper
    passed_through: bool  # the crop was in MNIST's frame already
    num_parts: int  # separate pieces of ink kept
    num_dropped: int  # separate pieces of ink taken for dirt, lines or neighbours
    aspect: float  # width / height of the ink
    edges_touched: int  # how many of the crop's four edges the kept ink reaches


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
    """Like `preprocess`, and say what was noticed on the way.

    Args:
        crop: (H, W) uint8, any polarity, size and margin.

    Raises:
        BlankCrop: nothing stands out from the paper.
    """
    if _may_be_in_mnist_frame(crop):
        already = _in_mnist_frame(crop[np.newaxis])[0]
        if already is not None:
            return already
    return _frame_loose(crop)


def frame_many(crops: Sequence[NDArray[np.uint8]]) -> list[Framed | BlankCrop]:
    """`frame` each crop; the look for MNIST's frame is one for all, and costs a sixth of that.

    Args:
        crops: (H, W) uint8 each, any polarity, size and margin.

    Returns:
        One outcome a crop, in order; a blank crop's error in its place.
    """
    likely = [row for row, crop in enumerate(crops) if _may_be_in_mnist_frame(crop)]
    outcomes: list[Framed | BlankCrop | None] = [None] * len(crops)
    if likely:
        together = np.concatenate([crops[row] for row in likely])
        looks = _in_mnist_frame(together.reshape(-1, SIDE_PX, SIDE_PX))
        for row, already in zip(likely, looks, strict=True):
            outcomes[row] = already
    return [
        _frame_or_error(crop) if outcome is None else outcome
        for crop, outcome in zip(crops, outcomes, strict=True)
    ]


def _frame_or_error(crop: NDArray[np.uint8]) -> Framed | BlankCrop:
    try:
        return _frame_loose(crop)
    except BlankCrop as error:
        return error.with_traceback(None)  # which holds the frames that hold the outcomes


def _frame_loose(crop: NDArray[np.uint8]) -> Framed:
    """Frame a crop that is not in MNIST's frame."""
    grey = _reduce(crop)
    tone = _find_tone(grey)
    bounds = _bounds(tone.is_ink)
    ink = tone.ink_of(grey[bounds[0] : bounds[1], bounds[2] : bounds[3]])
    box = _to_box(ink)
    parts = _parts(box > FAINT_INK)
    dropped: list[NDArray[np.bool_]] = []
    if len(parts) > 1:
        dropped = _not_digit(box, parts, bounds, grey.shape)
    if dropped:
        ink, bounds = _without(ink, bounds, box.shape, dropped)
        box = _to_box(ink)
    top, bottom, left, right = bounds
    height, width = grey.shape
    return Framed(
        image=_centre(box),
        inverted=tone.inverted,
        passed_through=False,
        num_parts=len(parts) - len(dropped),
        num_dropped=len(dropped),
        aspect=(right - left) / (bottom - top),
        edges_touched=(top == 0) + (bottom == height) + (left == 0) + (right == width),
    )


def _may_be_in_mnist_frame(crop: NDArray[np.uint8]) -> bool:
    """Whether the crop is 28x28 and its first or last row all paper, as MNIST draws it.

    One of the two is where a digit is in 20 px. Scanned paper has neither, and is spared the look
    below: a third of its framing.
    """
    if crop.shape != (SIDE_PX, SIDE_PX):
        return False
    empty = _EMPTY_ROWS[int(crop[0, 0] == WHITE)]
    return empty in (crop[0].tobytes(), crop[-1].tobytes())


def _in_mnist_frame(crops: NDArray[np.uint8]) -> list[Framed | None]:
    """Pass what MNIST's own procedure has framed of (N, 28, 28): normalising twice costs accuracy.

    All in one go, since each of these small steps costs numpy as much for one crop as for thirty.
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
        _passed(*look)
        for look in zip(
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
    """Each (N, 28) row as a number, a bit per place."""
    bits: list[int] = np.packbits(filled, axis=1).view(">u4").ravel().tolist()
    return bits


def _passed(
    image: NDArray[np.float32],
    moments: tuple[float, float, float],
    rows: int,
    columns: int,
    darkest: int,
    inverted: bool,  # noqa: FBT001
) -> Framed | None:
    """The image, if its centre of mass, its extent and its ink are as in MNIST."""
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
    """From the first to the last bit that is set, in px."""
    return bits.bit_length() - (bits & -bits).bit_length() + 1


def _reduce(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average whole blocks until the longest side is at most 128 px."""
    factor = -(-max(crop.shape) // WORK_SIDE_PX)
    if factor == 1:
        return crop
    return np.asarray(Image.fromarray(crop).reduce(factor))


class _Tone(NamedTuple):
    """What is paper and what is ink in one crop."""

    is_ink: NDArray[np.bool_]  # (H, W)
    inverted: bool
    table: NDArray[np.float32]  # (256,) grey -> ink: 0 paper, 1 the pen's mean

    def ink_of(self, grey: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.table[grey]


def _find_tone(grey: NDArray[np.uint8]) -> _Tone:
    """Split paper from ink by Otsu's threshold, and tell which of the two is the paper.

    Raises:
        BlankCrop: the two differ by less than the scanner's noise.
    """
    threshold, dark, light, dark_frac = _otsu(grey)
    if light - dark < MIN_CONTRAST:
        raise BlankCrop(
            f"paper and ink differ by {light - dark:.0f} grey levels; "
            f"at least {MIN_CONTRAST:.0f} are needed: is the crop empty?"
        )
    is_light = grey > threshold
    # Paper is what most of the border and of the area is made of; the two vote together because
    # a digit that fills its crop covers the border, and a bold one the area, but not both.
    inverted = _border_frac(is_light) + (1.0 - dark_frac) < 1.0
    paper, pen = (dark, light) if inverted else (light, dark)
    start = paper + PAPER_SPREAD_FRAC * (pen - paper)
    ramp = _LEVELS - start
    ramp *= 1.0 / (pen - start)
    np.maximum(ramp, 0.0, out=ramp)
    np.minimum(ramp, 1.0, out=ramp)
    return _Tone(is_light if inverted else ~is_light, inverted, ramp.astype(np.float32))


def _otsu(grey: NDArray[np.uint8]) -> tuple[int, float, float, float]:
    """Otsu's threshold, the mean grey on its dark and light side, and the dark share.

    A crop of more than 64x64 px is sampled at every second row and column: the same split for a
    quarter of the time.
    """
    sample = grey if grey.size <= OTSU_SAMPLE_PX else grey[::2, ::2]
    counts = np.bincount(sample.ravel(), minlength=256)
    below = counts.cumsum(dtype=np.float64)
    moment = (counts * _LEVELS).cumsum()
    total, total_moment = float(below[-1]), float(moment[-1])
    above = total - below
    # Where one side is empty the numerator is 0 as well, so a divisor of 1 keeps the 0.
    spread = (total_moment * below - total * moment) ** 2 / np.maximum(below * above, 1.0)
    threshold = int(spread.argmax())
    dark_count, dark_moment = float(below[threshold]), float(moment[threshold])
    if dark_count in (0.0, total):
        level = total_moment / total
        return threshold, level, level, 0.0
    dark = dark_moment / dark_count
    light = (total_moment - dark_moment) / (total - dark_count)
    return threshold, dark, light, dark_count / total


def _border_frac(mask: NDArray[np.bool_]) -> float:
    """Share of the border pixels that are set."""
    edges = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    num_set = sum(int(np.count_nonzero(edge)) for edge in edges)
    return num_set / (2.0 * sum(mask.shape))


def _bounds(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Top, bottom, left, right (half open) of what is set in a (H, W) mask."""
    # As bytes: to search 28 of them takes a tenth of what numpy's flatnonzero takes.
    rows = np.logical_or.reduce(mask, axis=1).tobytes()
    columns = np.logical_or.reduce(mask, axis=0).tobytes()
    return (
        rows.index(_SET),
        rows.rindex(_SET) + 1,
        columns.index(_SET),
        columns.rindex(_SET) + 1,
    )


def _to_box(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale (H, W) ink so that its longest side is 20 px, keeping the aspect."""
    height, width = ink.shape
    scale = BOX_PX / max(height, width)
    rows = _resampling(height, max(1, round(height * scale)))
    columns = _resampling(width, max(1, round(width * scale)))
    # Two small products: three times as fast as a trip through an imaging library's resize.
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


def _parts(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """The 8-connected components of a small (H, W) mask, in reading order of their first pixel.

    The mask is one big integer, a bit per pixel with an empty column between rows, so that one
    dilation of a component is eight shifts, whatever its shape: 7 us; a loop over pixels takes 320.
    """
    height, width = mask.shape
    padded = np.zeros((height, width + 1), dtype=np.bool_)
    padded[:, :width] = mask
    stride = width + 1
    left = int.from_bytes(np.packbits(padded, bitorder="little").tobytes(), "little")
    parts = []
    while left:
        part = left & -left
        while True:
            wide = part | part << 1 | part >> 1
            grown = (wide | wide << stride | wide >> stride) & left
            if grown == part:
                break
            part = grown
        left ^= part
        parts.append(part)
    return [_unpack(part, padded.shape)[:, :width] for part in parts] if len(parts) > 1 else [mask]


def _unpack(bits: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
    size = shape[0] * shape[1]
    raw = np.frombuffer(bits.to_bytes(-(-size // 8), "little"), dtype=np.uint8)
    return np.unpackbits(raw, count=size, bitorder="little").view(np.bool_).reshape(shape)


def _not_digit(
    box: NDArray[np.float32],
    parts: list[NDArray[np.bool_]],
    bounds: tuple[int, int, int, int],
    crop_shape: tuple[int, ...],
) -> list[NDArray[np.bool_]]:
    """Choose the parts that are dirt, a printed line or a neighbour's stroke.

    The largest part stays, unless it is a line along the crop's edge beside enough other ink: a
    box line has often more ink than the digit in the box.
    """
    masses = [float(box[part].sum()) for part in parts]
    total, largest = sum(masses), max(masses)
    places = [_Place.of(part, box.shape, bounds, crop_shape) for part in parts]
    dropped = [
        mass < largest
        and (
            mass < SPECK_FRAC * total
            or (place.is_at_edge and (mass < NEIGHBOUR_FRAC * total or place.is_line))
        )
        for mass, place in zip(masses, places, strict=True)
    ]
    left_over = sum(mass for mass, drop in zip(masses, dropped, strict=True) if not drop) - largest
    if left_over >= BESIDE_LINE_FRAC * total:
        first = masses.index(largest)
        dropped[first] = places[first].is_line_along_edge
    return [part for part, drop in zip(parts, dropped, strict=True) if drop]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in its crop a part lies."""

    touches_row_edge: bool  # the crop's top or bottom
    touches_column_edge: bool  # its left or right
    height_frac: float  # of the crop's
    width_frac: float

    @classmethod
    def of(
        cls,
        part: NDArray[np.bool_],
        box_shape: tuple[int, ...],
        bounds: tuple[int, int, int, int],
        crop_shape: tuple[int, ...],
    ) -> "_Place":
        top, bottom, left, right = bounds
        first_row, last_row, first_column, last_column = _bounds(part)
        height, width = crop_shape
        box_height, box_width = box_shape
        return cls(
            touches_row_edge=(top == 0 and first_row == 0)
            or (bottom == height and last_row == box_height),
            touches_column_edge=(left == 0 and first_column == 0)
            or (right == width and last_column == box_width),
            height_frac=(last_row - first_row) / box_height * (bottom - top) / height,
            width_frac=(last_column - first_column) / box_width * (right - left) / width,
        )

    @property
    def is_at_edge(self) -> bool:
        return self.touches_row_edge or self.touches_column_edge

    @property
    def is_line(self) -> bool:
        long_frac = max(self.height_frac, self.width_frac)
        thick_frac = min(self.height_frac, self.width_frac)
        return long_frac >= LINE_SPAN_FRAC and thick_frac <= LINE_THICK_FRAC

    @property
    def is_line_along_edge(self) -> bool:
        """A stroke that only ends at an edge may be a 1 in a tight crop."""
        is_upright = self.height_frac > self.width_frac
        return self.is_line and (self.touches_column_edge if is_upright else self.touches_row_edge)


def _without(
    ink: NDArray[np.float32],
    bounds: tuple[int, int, int, int],
    box_shape: tuple[int, ...],
    dropped: list[NDArray[np.bool_]],
) -> tuple[NDArray[np.float32], tuple[int, int, int, int]]:
    """Wipe the dropped parts, found at box scale, out of the ink at crop scale, and cut again.

    Raises:
        BlankCrop: no ink is left.
    """
    mask = np.logical_or.reduce(dropped)
    rows = np.arange(ink.shape[0]) * box_shape[0] // ink.shape[0]
    columns = np.arange(ink.shape[1]) * box_shape[1] // ink.shape[1]
    kept = np.where(mask[rows[:, np.newaxis], columns], np.float32(0.0), ink)
    # Beside a dark printed line the digit may be faint: then the darkest that is left is the pen.
    darkest = float(kept.max())
    if darkest < FAINT_INK:
        raise BlankCrop(
            "nothing but printed lines: is the crop from the wrong place, or the field empty?"
        )
    top, bottom, left, right = _bounds(kept > INK * darkest)
    whole_top, _, whole_left, _ = bounds
    inner = (whole_top + top, whole_top + bottom, whole_left + left, whole_left + right)
    return kept[top:bottom, left:right], inner


def _centre(box: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put the centre of mass of a <= 20x20 box in the middle of 28x28; the most ink becomes 1."""
    height, width = box.shape
    # [[mass, column moment], [row moment, _]] in two products.
    moments = _MOMENTS[:, :height] @ box @ _MOMENTS[:, :width].T
    mass = float(moments[0, 0])
    top = round(SIDE_PX / 2 - float(moments[1, 0]) / mass)
    left = round(SIDE_PX / 2 - float(moments[0, 1]) / mass)
    top = min(max(top, 0), SIDE_PX - height)
    left = min(max(left, 0), SIDE_PX - width)
    image = np.zeros((1, SIDE_PX, SIDE_PX), dtype=np.float32)
    np.multiply(
        box,
        np.float32(1.0) / np.maximum.reduce(box, axis=None),
        out=image[0, top : top + height, left : left + width],
    )
    return image
