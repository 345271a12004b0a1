"""The benchmark's scanned crops: the same in every run, noisy, of both formats, and readable."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from loadtest import digit_crops, scanned_crops
from loadtest.bench import crop_sets
from loadtest.servers import Server, as_shipped
from model.decode import decode


@pytest.fixture(scope="module")
def crops():
    return scanned_crops.scanned(40)


def test_every_run_gets_the_same_bytes(crops):
    assert crops == scanned_crops.scanned(40)


def test_half_are_png_and_half_are_jpeg(crops):
    formats = [Image.open(io.BytesIO(crop.png)).format for crop in crops]
    assert formats == ["PNG", "JPEG"] * 20
    assert [crop.media_type for crop in crops] == ["image/png", "image/jpeg"] * 20


def test_the_longer_side_is_40_to_128_px(crops):
    longest = [max(decode(crop.png).shape) for crop in crops]
    assert min(longest) >= 40
    assert max(longest) <= 128
    assert len(set(longest)) > 20


def test_the_paper_has_grain(crops):
    for crop in crops:
        border = decode(crop.png)[:2].astype(float)
        assert border.std() > 1
        assert border.mean() > 180


def test_all_digits_occur_and_most_are_read_right(crops):
    from loadtest.bench.peers.same_work import Reader

    reader = Reader()
    assert {crop.label for crop in crops} == set(range(10))
    right = [reader.read(crop.png)["digit"] == crop.label for crop in crops]
    assert np.mean(right) > 0.85


def test_noisy_crops_of_one_side_are_square_and_of_one_format():
    for file_format in ("PNG", "JPEG"):
        for crop in scanned_crops.noisy(128, 3, file_format=file_format):
            picture = Image.open(io.BytesIO(crop.png))
            assert (picture.size, picture.format) == ((128, 128), file_format)


@pytest.mark.parametrize("name", crop_sets.CROPS)
def test_every_crop_set_has_crops_and_a_label(name):
    assert len(crop_sets.make(name, 5)) == 5
    assert crop_sets.LABELS[name]


@pytest.mark.parametrize("form_field", [None, "image"])
def test_a_request_names_the_format_of_its_file(crops, form_field):
    server = Server("any", "Any", None, as_shipped, form_field=form_field)
    for crop in crops[:2]:
        request = server.request(crop)
        named = re.findall(rb"image/\w+", request.wire("localhost")[:600])
        assert named == [crop.media_type.encode()]


def test_the_digits_of_a_dark_and_a_light_crop_end_up_dark_on_light():
    dark = digit_crops.load()[0]
    light = digit_crops.LabelledCrop(_inverted(dark.png), dark.label)
    for crop in (dark, light):
        made = scanned_crops.scan(crop, np.random.default_rng(1), file_format="PNG")
        pixels = decode(made.png)
        assert np.median(pixels) > 180


def _inverted(png):
    file = io.BytesIO()
    Image.fromarray(255 - decode(png)).save(file, "PNG")
    return file.getvalue()
