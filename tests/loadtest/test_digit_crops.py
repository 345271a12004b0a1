import numpy as np

from loadtest import digit_crops
from loadtest.bench.contender import digit_of
from model.preprocess import frame


def test_a_sample_contains_all_digits():
    assert {crop.label for crop in digit_crops.spread(digit_crops.load(), 20)} == set(range(10))


def test_framing_does_not_change_a_framed_crop():
    for crop in digit_crops.workload(28, 20):
        framed = frame(crop.pixels())
        np.testing.assert_allclose(framed.image[0], crop.pixels() / 255, atol=1e-6)


def test_a_resized_crop_has_the_requested_side():
    assert digit_crops.workload(128, 3)[0].pixels().shape == (128, 128)


def test_the_digit_is_read_from_an_object_and_from_a_list():
    assert digit_of(b'{"digit": 7}') == 7
    assert digit_of(b'[{"digit": 7}]') == 7
    assert digit_of(b'{"digit": null}') is None
