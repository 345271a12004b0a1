"""The fields of the load tests: shipped digits side by side on paper, as one PNG."""

import io
import random
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loadtest.digit_crops import LabelledCrop
from model.preprocess import preprocess

PAPER: Final = 238
INK: Final = 34
_BOX_PX: Final = 20  # of a digit in its image


def field_png(
    crops: Sequence[LabelledCrop], rng: random.Random, *, height_px: int = 56, margin_px: int = 24
) -> bytes:
    """Write digits in a row.

    Args:
        crops: the digits, in order.
        rng: draws gaps and baselines.
        height_px: of a digit.
        margin_px: of paper around them.

    Returns:
        A PNG file, 8-bit grey, dark ink.
    """
    scale = height_px / _BOX_PX
    digits = [_inked(crop, scale) for crop in crops]
    gaps = [round(rng.uniform(0.18, 0.45) * height_px) for _ in digits[1:]]
    width = 2 * margin_px + sum(one.shape[1] for one in digits) + sum(gaps)
    height = 2 * margin_px + max(one.shape[0] for one in digits)
    ink = np.zeros((height, width), np.float32)
    left = margin_px
    for digit, gap in zip(digits, [*gaps, 0], strict=True):
        top = (height - digit.shape[0]) // 2 + round(rng.uniform(-0.06, 0.06) * height_px)
        ink[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
        left += digit.shape[1] + gap
    grey = np.rint(PAPER - ink * (PAPER - INK)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG", optimize=True)
    return file.getvalue()


def _inked(crop: LabelledCrop, scale: float) -> NDArray[np.float32]:
    """A digit's ink, 0 to 1, cut to its bounds."""
    image = preprocess(crop.pixels())[0]
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    cut = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    size = (max(round(cut.shape[1] * scale), 1), max(round(cut.shape[0] * scale), 1))
    large = np.asarray(Image.fromarray(cut).resize(size, Image.Resampling.BICUBIC))
    ink: NDArray[np.float32] = np.clip(large, 0, 1).astype(np.float32)
    return ink
