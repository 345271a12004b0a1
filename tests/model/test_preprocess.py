import re

import numpy as np
import pytest
import reference_framing
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageDraw, ImageFilter

from model.decode import MAX_SIDE_PX, MIN_SIDE_PX
from model.errors import BlankCrop
from model.preprocess import WORK_SIDE_PX, frame, frame_many, preprocess

# float32 against float64, through two small matrix products: 4e-7 was measured over the crops.
TOLERANCE = 2e-6
# Above 128 px whole blocks are averaged first. Pillow's average of 3x3 is up to one grey level
# below the true one (fixed point); 0.0046 of the ink was measured.
TOLERANCE_REDUCED = 0.01


def as_sent(crop, rng):
    return crop


def reversed_in_polarity(crop, rng):
    return 255 - crop


def of_another_size(crop, rng):
    height = int(rng.integers(12, 300))
    width = max(4, round(crop.shape[1] * height / crop.shape[0] * rng.uniform(0.7, 1.4)))
    return np.asarray(Image.fromarray(crop).resize((width, height), Image.Resampling.BICUBIC))


def with_noise(crop, rng):
    noisy = crop + rng.normal(0, 12, crop.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def with_little_contrast(crop, rng):
    return (crop.astype(float) * rng.uniform(0.2, 0.6) + rng.uniform(0, 100)).astype(np.uint8)


def paper_and_pen(crop):
    is_inverted = np.median(crop) < 128
    return (int(crop.min()), int(crop.max())) if is_inverted else (int(crop.max()), int(crop.min()))


def with_specks(crop, rng):
    paper, pen = paper_and_pen(crop)
    speckled = np.pad(crop, 6, constant_values=paper)
    for _ in range(4):
        row, column = rng.integers(0, np.array(speckled.shape) - 2)
        speckled[row : row + 2, column : column + 2] = pen
    return speckled


def with_a_neighbour(crop, rng):
    paper, pen = paper_and_pen(crop)
    wide = np.pad(crop, ((2, 2), (2, 14)), constant_values=paper)
    start = int(rng.integers(2, len(wide) // 2))
    wide[start : start + 6, -5:] = pen
    return wide


def cut_off(crop, rng):
    sides = rng.integers(0, 1 + min(crop.shape) // 5, 4)
    height, width = crop.shape
    return np.ascontiguousarray(crop[sides[0] : height - sides[1], sides[2] : width - sides[3]])


def turned_and_blurred(crop, rng):
    paper, _ = paper_and_pen(crop)
    turned = Image.fromarray(crop).rotate(rng.uniform(-30, 30), expand=True, fillcolor=paper)
    return np.asarray(turned.filter(ImageFilter.GaussianBlur(rng.uniform(0, 2))))


VARIATIONS = [
    as_sent,
    reversed_in_polarity,
    of_another_size,
    with_noise,
    with_little_contrast,
    with_specks,
    with_a_neighbour,
    cut_off,
    turned_and_blurred,
]


@pytest.mark.parametrize("vary", VARIATIONS)
def test_framing_equals_the_plain_reference(vary, crops):
    """9 variations of 200 crops: 1,800."""
    rng = np.random.default_rng(20261121)
    for crop in crops:
        varied = vary(crop.pixels, rng)
        tolerance = TOLERANCE_REDUCED if max(varied.shape) > WORK_SIDE_PX else TOLERANCE
        expected = reference_framing.frame_slowly(varied)
        assert_allclose(preprocess(varied)[0], expected, atol=tolerance, rtol=0)


def test_a_framed_crop_equals_the_plain_reference(images):
    for image in images:
        crop = np.rint(image[0] * 255).astype(np.uint8)
        assert_allclose(
            preprocess(crop)[0], reference_framing.frame_slowly(crop), atol=TOLERANCE, rtol=0
        )


def with_ink(height, width, *strokes, paper=255, pen=0):
    """Paper with rectangles of ink: (top, bottom, left, right)."""
    crop = np.full((height, width), paper, dtype=np.uint8)
    for top, bottom, left, right in strokes:
        crop[top:bottom, left:right] = pen
    return crop


@pytest.fixture
def bar():
    """An upright stroke on paper."""
    return with_ink(40, 32, (8, 32, 14, 18))


def test_the_image_is_float32_between_0_and_1(bar):
    image = preprocess(bar)
    assert image.dtype == np.float32
    assert image.shape == (1, 28, 28)
    assert image.min() == 0.0
    assert image.max() == 1.0


def test_the_longest_side_becomes_20_px(bar):
    rows = np.flatnonzero(preprocess(bar)[0].any(axis=1))
    assert rows[-1] - rows[0] + 1 == 20


def test_the_mass_is_in_the_middle_to_half_a_pixel(images):
    rows, columns = np.indices((28, 28))
    mass = images[:, 0].sum(axis=(1, 2))
    for axis in (rows, columns):
        centres = (images[:, 0] * axis).sum(axis=(1, 2)) / mass
        # Not closer: the image is placed by whole pixels, and a lopsided digit stops at the edge.
        assert np.abs(centres - 14).max() <= 1.0


def test_a_crop_in_mnists_frame_passes_through_unchanged(images):
    passed = 0
    for image in images:
        crop = np.rint(image[0] * 255).astype(np.uint8)
        framed = frame(crop)
        if framed.passed_through:
            passed += 1
            assert_array_equal(framed.image[0], crop * np.float32(1 / 255))
    assert passed >= 190  # a lopsided digit may be off centre, and is framed again


def test_a_crop_in_mnists_frame_passes_through_in_either_polarity(images):
    crop = np.rint(images[0][0] * 255).astype(np.uint8)
    dark_on_light, light_on_dark = frame(255 - crop), frame(crop)
    assert dark_on_light.passed_through
    assert light_on_dark.passed_through
    assert_array_equal(dark_on_light.image, light_on_dark.image)


@pytest.mark.parametrize("background", [0, 255])
@pytest.mark.parametrize(("thin", "heavy"), [((0, 20), (10, 20)), ((8, 28), (8, 20))])
def test_a_lopsided_digit_may_reach_an_edge_and_be_in_mnists_frame(thin, heavy, background):
    crop = np.zeros((28, 28), dtype=np.uint8)
    crop[slice(*thin), 14] = 255  # 20 px to the edge, and centred by its mass all the same
    crop[slice(*heavy), 5:24] = 255
    for turned in (crop, crop.T):
        assert frame(turned ^ np.uint8(background)).passed_through


def test_a_crop_in_any_memory_layout_is_framed_alike(images):
    crop = np.rint(images[0][0] * 255).astype(np.uint8)
    wide = np.zeros((28, 56), dtype=np.uint8)
    wide[:, ::2] = crop
    for layout in (np.asfortranarray(crop), wide[:, ::2], crop[::-1][::-1]):
        assert frame(layout).passed_through
        assert_array_equal(frame(layout).image, preprocess(crop))


def test_many_are_framed_as_each_alone(crops, images):
    mixed = [crop.pixels for crop in crops]
    mixed += [np.rint(image[0] * 255).astype(np.uint8) for image in images]
    mixed += [255 - crop for crop in mixed[-50:]]
    mixed.insert(7, np.full((28, 28), 255, dtype=np.uint8))
    num_passed = 0
    for crop, outcome in zip(mixed, frame_many(mixed), strict=True):
        if isinstance(outcome, BlankCrop):
            with pytest.raises(BlankCrop, match=re.escape(str(outcome))):
                frame(crop)
            continue
        alone = frame(crop)
        num_passed += outcome.passed_through
        assert_array_equal(outcome.image, alone.image)
        for name in ("inverted", "passed_through", "num_parts", "num_dropped", "aspect"):
            assert getattr(outcome, name) == getattr(alone, name)
    assert num_passed > 200


def test_an_empty_list_gives_an_empty_list():
    assert frame_many([]) == []


def test_a_28_px_crop_that_is_off_centre_is_framed(images):
    crop = np.roll(np.rint(images[0][0] * 255).astype(np.uint8), 3, axis=1)
    assert not frame(crop).passed_through


@pytest.mark.parametrize("margin_px", [0, 3, 40])
def test_white_margin_does_not_change_the_image(bar, margin_px):
    padded = np.pad(bar, margin_px, constant_values=255)
    assert_array_equal(preprocess(padded), preprocess(bar))


def test_polarity_does_not_change_the_image(bar):
    assert_allclose(preprocess(255 - bar), preprocess(bar), atol=1e-6)


def test_the_polarity_is_reported(bar):
    assert not frame(bar).inverted
    assert frame(255 - bar).inverted


def test_a_bold_digit_that_covers_most_of_its_crop_keeps_its_polarity():
    bold = with_ink(40, 40, (2, 38, 2, 38))
    assert not frame(bold).inverted


def test_a_speck_is_dropped(bar):
    dirty = with_ink(40, 32, (8, 32, 14, 18), (3, 4, 3, 4))
    framed = frame(dirty)
    assert framed.num_dropped == 1
    assert_array_equal(framed.image, preprocess(bar))


def test_a_box_line_at_the_edge_is_dropped(bar):
    boxed = with_ink(40, 32, (8, 32, 14, 18), (0, 40, 0, 2))
    framed = frame(boxed)
    assert framed.num_dropped == 1
    assert_array_equal(framed.image, preprocess(bar))


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_a_box_line_with_more_ink_than_the_digit_is_dropped(side):
    small = (20, 32, 24, 27)
    line = {
        "left": (0, 52, 0, 4),
        "right": (0, 52, 48, 52),
        "top": (0, 4, 0, 52),
        "bottom": (48, 52, 0, 52),
    }[side]
    framed = frame(with_ink(52, 52, small, line))
    assert (framed.num_parts, framed.num_dropped) == (1, 1)
    assert_allclose(framed.image, preprocess(with_ink(52, 52, small)), atol=1e-6)


def test_a_1_that_fills_its_crop_is_kept_beside_a_neighbours_stroke():
    crowded = with_ink(40, 32, (0, 40, 14, 19), (20, 28, 27, 32))
    framed = frame(crowded)
    assert framed.num_dropped == 1
    assert framed.aspect == pytest.approx(5 / 40)


@pytest.mark.parametrize("grey", [60, 100, 140, 150])
def test_a_digit_fainter_than_the_lines_beside_it_is_read(grey):
    boxed = with_ink(60, 60, (0, 60, 0, 4), (0, 60, 57, 60), paper=250)
    boxed[10:50, 20:40] = grey
    framed = frame(boxed)
    assert (framed.num_parts, framed.num_dropped) == (1, 2)
    assert framed.aspect == pytest.approx(20 / 40)


def test_a_line_beside_dirt_is_kept_as_it_may_be_a_1():
    framed = frame(with_ink(40, 32, (0, 40, 0, 5), (20, 22, 16, 18)))
    assert framed.num_dropped == 1
    assert framed.aspect == pytest.approx(5 / 40)


def test_a_neighbours_stroke_cut_by_the_edge_is_dropped(bar):
    crowded = with_ink(40, 32, (8, 32, 14, 18), (20, 26, 30, 32))
    framed = frame(crowded)
    assert framed.num_dropped == 1
    assert_array_equal(framed.image, preprocess(bar))


def test_a_separate_stroke_of_the_digit_is_kept():
    framed = frame(with_ink(40, 40, (8, 12, 8, 32), (16, 32, 18, 22)))  # a five's cap
    assert (framed.num_parts, framed.num_dropped) == (2, 0)


def test_a_line_without_other_ink_is_kept():
    framed = frame(with_ink(40, 32, (0, 40, 14, 18)))
    assert (framed.num_parts, framed.num_dropped) == (1, 0)


def test_the_aspect_is_width_by_height(bar):
    assert frame(bar).aspect == pytest.approx(4 / 24)


@pytest.mark.parametrize(
    ("stroke", "edges"),
    [
        ((8, 32, 14, 18), 0),
        ((0, 32, 14, 18), 1),
        ((0, 40, 14, 18), 2),
    ],
)
def test_edges_reached_by_the_ink_are_counted(stroke, edges):
    assert frame(with_ink(40, 32, stroke)).edges_touched == edges


@pytest.mark.parametrize("turns", range(4))
def test_strokes_cut_by_the_crops_edge_are_marked_on_that_border(turns):
    drawing = Image.new("L", (60, 60), 255)
    ImageDraw.Draw(drawing).ellipse((12, -20, 48, 40), outline=0, width=6)  # its top is cut away
    image = np.rot90(preprocess(np.rot90(np.asarray(drawing), turns))[0], -turns)
    marked = image[0] > 0.5
    assert np.flatnonzero(np.diff(marked)).size == 4  # both strokes, from one end to the other
    assert not image[-1].any()
    assert not image[:, 0].any()
    assert not image[:, -1].any()


def test_a_tight_crop_has_no_marks():
    drawing = Image.new("L", (60, 60), 255)
    ImageDraw.Draw(drawing).ellipse((12, 8, 48, 52), outline=0, width=6)
    tight = np.asarray(drawing)[8:53, 12:49]
    assert_array_equal(preprocess(tight), preprocess(np.asarray(drawing)))


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("shape", [(28, 28), (MIN_SIDE_PX, MIN_SIDE_PX), (400, 300)])
def test_one_grey_level_is_blank(level, shape):
    with pytest.raises(BlankCrop, match="at least 20"):
        preprocess(np.full(shape, level, dtype=np.uint8))


@pytest.mark.parametrize("seed", range(20))
def test_scanner_noise_on_paper_is_blank(seed):
    rng = np.random.default_rng(seed)
    noise = np.clip(rng.normal(230, 4, (60, 50)), 0, 255).astype(np.uint8)
    with pytest.raises(BlankCrop):
        preprocess(noise)


def test_contrast_is_refused_just_below_the_limit_and_read_at_it():
    assert preprocess(with_ink(40, 32, (8, 32, 14, 18), paper=120, pen=100)).max() == 1.0
    with pytest.raises(BlankCrop):
        preprocess(with_ink(40, 32, (8, 32, 14, 18), paper=119, pen=100))


@pytest.mark.parametrize(
    "shape",
    [
        (MIN_SIDE_PX, MIN_SIDE_PX),
        (MIN_SIDE_PX, MAX_SIDE_PX),
        (MAX_SIDE_PX, MIN_SIDE_PX),
        (1000, 1000),
        (WORK_SIDE_PX, WORK_SIDE_PX),
        (WORK_SIDE_PX + 1, WORK_SIDE_PX + 1),
    ],
)
def test_a_crop_of_any_allowed_size_is_framed(shape):
    height, width = shape
    crop = with_ink(height, width, (height // 4, height // 2, width // 4, width // 2))
    image = preprocess(crop)
    assert image.shape == (1, 28, 28)
    assert image.max() == 1.0


def drawing(rng):
    """Lines along the edges and rectangles anywhere, of any grey: what random pixels never make."""
    height, width = rng.integers(MIN_SIDE_PX, 60, 2)
    crop = np.full((height, width), rng.integers(150, 256), dtype=np.uint8)
    for _ in range(rng.integers(1, 5)):
        grey, thick_px = rng.integers(0, 256), int(rng.integers(1, 4))
        top, left = rng.integers(0, height), rng.integers(0, width)
        tall, wide = rng.integers(1, height + 1), rng.integers(1, width + 1)
        places = [
            np.s_[:thick_px],
            np.s_[-thick_px:],
            np.s_[:, :thick_px],
            np.s_[:, -thick_px:],
            *3 * [np.s_[top : top + tall, left : left + wide]],
        ]
        crop[places[rng.integers(len(places))]] = grey
    grain = rng.normal(0, rng.choice([0, 4, 20]), crop.shape)
    return np.clip(crop + grain, 0, 255).astype(np.uint8)


def test_any_drawing_gives_an_image_or_is_blank():
    rng = np.random.default_rng(20261121)
    num_framed = 0
    for _ in range(4_000):
        try:
            image = preprocess(drawing(rng))
        except BlankCrop:
            continue
        num_framed += 1
        assert image.min() >= 0.0  # also false for a NaN
        assert image.max() <= 1.0
    assert num_framed > 2_800


@pytest.mark.parametrize("seed", range(50))
def test_any_pixels_give_an_image_or_are_blank(seed):
    rng = np.random.default_rng(seed)
    shape = rng.integers(MIN_SIDE_PX, 200, 2)
    kinds = [
        rng.integers(0, 256, shape),
        np.where(rng.random(shape) < 0.01, 0, 255),
        np.where(rng.random(shape) < 0.5, 0, 255),
        np.add.outer(np.arange(shape[0]), np.arange(shape[1])) % 256,
    ]
    try:
        image = preprocess(kinds[seed % 4].astype(np.uint8))
    except BlankCrop:
        return
    assert np.isfinite(image).all()
    assert image.min() >= 0.0
    assert image.max() <= 1.0


def test_the_crop_is_not_written_to(bar):
    before = bar.copy()
    bar.flags.writeable = False
    preprocess(bar)
    assert_array_equal(bar, before)


def test_a_crop_that_is_not_contiguous_is_framed_alike(bar):
    assert_array_equal(preprocess(np.asfortranarray(bar)), preprocess(bar))


def draw_digit(text):
    picture = Image.new("L", (40, 40), 255)
    ImageDraw.Draw(picture).text((12, 8), text, fill=0, font_size=24)
    return np.asarray(picture)


def test_a_crop_drawn_at_twice_the_size_gives_nearly_the_same_image():
    crop = draw_digit("3")
    large = np.kron(crop, np.ones((2, 2), dtype=np.uint8))
    assert np.abs(preprocess(large) - preprocess(crop)).mean() < 0.02


# A 5 of straight strokes, with room around it: (top, bottom, left, right).
FIVE = [(30, 36, 34, 66), (30, 60, 34, 40), (54, 60, 34, 66), (54, 88, 60, 66), (82, 88, 34, 66)]


@pytest.fixture
def five():
    return with_ink(116, 100, *FIVE, paper=240, pen=20)


@pytest.mark.parametrize("thick_px", [1, 4, 12])
@pytest.mark.parametrize("sides", ["t", "b", "l", "r", "tl", "br", "lr", "tlr", "tblr"])
@pytest.mark.parametrize("inverted", [False, True])
def test_ink_along_whole_edges_is_taken_out(five, sides, thick_px, inverted):
    edged = five.copy()
    for side in sides:
        rows = {"t": np.s_[:thick_px], "b": np.s_[-thick_px:]}
        columns = {"l": np.s_[:, :thick_px], "r": np.s_[:, -thick_px:]}
        edged[(rows | columns)[side]] = 20
    flip = np.uint8(255 * inverted)
    framed = frame(edged ^ flip)
    assert framed.inverted == inverted
    assert_allclose(framed.image, preprocess(five), atol=0.05)


@pytest.mark.parametrize("inset_px", [0, 6, 14])
def test_a_closed_box_is_taken_out_wherever_it_is(five, inset_px):
    boxed = five.copy()
    boxed[inset_px : 116 - inset_px, inset_px : 100 - inset_px] = 20
    inner = np.s_[inset_px + 3 : 113 - inset_px, inset_px + 3 : 97 - inset_px]
    boxed[inner] = five[inner]
    assert_allclose(preprocess(boxed), preprocess(five), atol=0.05)


def test_a_steep_gradient_of_light_changes_the_image_little(five):
    shaded = (five * np.linspace(1, 0.3, five.shape[1])).astype(np.uint8)
    assert np.abs(preprocess(shaded) - preprocess(five)).mean() < 0.05
