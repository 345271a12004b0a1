"""Fields for the tests of /v1/field: shipped digits side by side."""

import io
import random
from functools import cache

import numpy as np
from PIL import Image

from loadtest.digit_crops import LabelledCrop, load
from loadtest.field_images import field_png


@cache
def _digit(label: int) -> LabelledCrop:
    return [crop for crop in load() if crop.label == label][4]


def write(code: str, seed: int = 7, **options) -> bytes:
    """The PNG of a field that shows a code, which the shipped champion accepts."""
    return field_png([_digit(int(one)) for one in code], random.Random(seed), **options)


def png_of(grey, file_format: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.asarray(grey, np.uint8)).save(stream, file_format, **options)
    return stream.getvalue()


def grey_of(png: bytes):
    return np.asarray(Image.open(io.BytesIO(png)))


BLANK = png_of(np.full((100, 400), 240))
NOISE = png_of(np.random.default_rng(1).integers(0, 256, (200, 600)))
