import numpy as np
import pytest
from PIL import Image, ImageDraw

from training.data import styles
from training.data.styles import STYLES, write, write_all


def drawn(label):
    """A plain digit of each label that has styles, drawn with a 3 px pen."""
    image = Image.new("L", (28, 28), 0)
    pen = ImageDraw.Draw(image)
    if label in (0, 8):
        pen.ellipse((8, 4, 19, 23 if label == 0 else 13), outline=255, width=3)
    if label == 8:
        pen.ellipse((8, 12, 19, 23), outline=255, width=3)
    if label == 1:
        pen.line((14, 4, 14, 23), fill=255, width=3)
    if label == 2:
        pen.line((8, 6, 18, 5, 18, 12, 8, 22, 20, 22), fill=255, width=3, joint="curve")
    if label == 4:
        pen.line((16, 23, 16, 4, 8, 15, 20, 15), fill=255, width=3, joint="curve")
    if label in (6, 9):
        pen.ellipse((8, 12, 19, 23), outline=255, width=3)
        pen.line((16, 4, 9, 16), fill=255, width=3)
    if label == 7:
        pen.line((7, 5, 19, 5, 13, 23), fill=255, width=3, joint="curve")
    digit = np.asarray(image)
    return digit[::-1, ::-1] if label == 9 else digit


def styled(name, num=40):
    before = np.stack([drawn(STYLES[name].label)] * num)
    return before.astype(int), write_all(before, name, np.random.default_rng(0)).astype(int)


def num_holes(image):
    """Background areas that are closed in by ink."""
    from scipy.ndimage import label

    return int(label(np.pad(image < 128, 1, constant_values=True))[1]) - 1


@pytest.mark.parametrize("name", STYLES)
def test_every_style_changes_the_digit_and_keeps_it_in_the_frame(name):
    before, after = styled(name)
    assert (np.abs(after - before).sum((1, 2)) > 500).all()
    assert (after.sum((1, 2)) > 0.3 * before.sum((1, 2))).all()


@pytest.mark.parametrize(
    "name",
    [name for name in STYLES if name.split()[0] in ("one", "crossed") or "slash" in name],
)
def test_a_style_that_adds_strokes_takes_no_ink_away(name):
    before, after = styled(name)
    assert (after >= before).all()


def test_an_upstroke_is_on_the_left_and_leaves_the_lower_stem_bare():
    before, after = styled("one with an upstroke")
    added = after - before
    assert not added[:, :, 18:].any()
    assert not added[:, 20:].any()


def test_a_bar_crosses_the_stem_of_a_seven_on_both_sides():
    before, after = styled("crossed seven")
    added = (after - before)[:, 9:20]
    assert added[:, :, 19:].any(axis=(1, 2)).all()
    assert added[:, :, :13].any(axis=(1, 2)).all()


def test_a_slash_splits_the_hole_of_most_zeros():
    _, after = styled("zero with a slash")
    assert np.mean([num_holes(image) >= 2 for image in after]) > 0.8


def test_a_thick_zero_keeps_its_hole():
    before, after = styled("thick zero")
    assert (after.sum((1, 2)) > 1.15 * before.sum((1, 2))).all()
    assert all(num_holes(image) == 1 for image in after)


def test_a_loop_gives_a_two_a_hole():
    before, after = styled("two with a loop")
    assert num_holes(before[0]) == 0
    assert np.mean([num_holes(image) >= 1 for image in after]) > 0.85


@pytest.mark.parametrize("name", ["open four", "open six", "open nine"])
def test_an_open_loop_has_no_hole(name):
    before, after = styled(name)
    assert num_holes(before[0]) == 1
    assert np.mean([num_holes(image) == 0 for image in after]) > 0.85


def test_a_narrow_eight_is_narrower():
    before, after = styled("narrow eight")
    width = (after > 128).any(1).sum(1)
    assert width.max() < 0.85 * (before > 128).any(1).sum(1)[0]


def test_digits_without_styles_and_the_source_are_left_alone():
    images = np.stack([drawn(0)] * 10)
    before = images.copy()
    written = write(images, np.arange(10, dtype=np.uint8), 1.0, np.random.default_rng(0))
    changed = (written != images).any(axis=(1, 2))
    assert sorted(np.flatnonzero(~changed)) == [3, 5]
    np.testing.assert_array_equal(images, before)


def test_about_the_share_asked_for_is_changed():
    images = np.stack([drawn(1)] * 400)
    written = write(images, np.ones(400, np.uint8), 0.25, np.random.default_rng(0))
    share = (written != images).any(axis=(1, 2)).mean()
    assert 0.18 < share < 0.32


def test_a_digit_without_ink_stays_without_a_mistake():
    blank = np.zeros((2, 28, 28), np.uint8)
    for name in styles.STYLES:
        assert write_all(blank, name, np.random.default_rng(0)).shape == blank.shape
