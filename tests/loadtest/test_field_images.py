import io
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loadtest.digit_crops import LabelledCrop
from loadtest.field_images import INK, PAPER, field_png
from serving.api.tryit import FOLDER

DATA = Path(__file__).parents[1] / "data"
SHIPPED = ("2-01932", "8-07417", "1-04764", "9-04383", "5-01339")


def five():
    files = [DATA / "crops" / f"{name}.png" for name in SHIPPED]
    return [LabelledCrop(file.read_bytes(), int(file.name[0])) for file in files]


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def test_the_shipped_field_is_made_of_shipped_crops():
    made = pixels(field_png(five(), random.Random(3), height_px=48, margin_px=20))
    shipped = (DATA / "fields" / "28195.png").read_bytes()
    assert np.array_equal(pixels(shipped), np.round(made / 17) * 17)
    assert (FOLDER / "fields" / "28195.png").read_bytes() == shipped


@pytest.mark.parametrize("num", [1, 5, 9])
def test_a_field_has_its_digits_side_by_side(num):
    grey = pixels(field_png((five() * 2)[:num], random.Random(1)))
    is_inked = (grey < (PAPER + INK) / 2).any(axis=0)
    assert np.count_nonzero(np.diff(is_inked.astype(int)) == 1) == num
