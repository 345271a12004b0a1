import numpy as np
import pytest

from training.data.continental import add_strokes


def stem(label):
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 13:16] = 255
    if label == 7:
        image[4:7, 6:16] = 255
    return image


@pytest.mark.parametrize("label", [1, 7])
def test_a_stroke_is_added_on_the_left_or_across(label):
    images = np.stack([stem(label)] * 50)
    labels = np.full(50, label, np.uint8)
    written = add_strokes(images, labels, 1.0, np.random.default_rng(0))
    assert (written >= images).all()
    added = written.astype(int) - images
    assert (added.sum((1, 2)) > 1000).all()
    if label == 1:
        assert not added[:, :, 17:].any()
        assert not added[:, 18:].any()  # the lower part of the stem stays bare
    else:
        assert added[:, 9:20, 17:].any(axis=(1, 2)).all()
        assert added[:, 9:20, :12].any(axis=(1, 2)).all()


def test_other_digits_and_the_source_are_left_alone():
    images = np.stack([stem(1)] * 10)
    before = images.copy()
    labels = np.arange(10, dtype=np.uint8)
    written = add_strokes(images, labels, 1.0, np.random.default_rng(0))
    changed = (written != images).any(axis=(1, 2))
    assert np.flatnonzero(changed).tolist() == [1, 7]
    np.testing.assert_array_equal(images, before)


def test_about_the_share_asked_for_is_changed():
    images = np.stack([stem(1)] * 400)
    labels = np.ones(400, np.uint8)
    written = add_strokes(images, labels, 0.25, np.random.default_rng(0))
    share = (written != images).any(axis=(1, 2)).mean()
    assert 0.18 < share < 0.32
