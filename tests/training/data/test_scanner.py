from dataclasses import replace

import numpy as np
import pytest
from tiny import draw_digits

from model.preprocess import frame
from training.data import garbage, render
from training.data.corruptions import CORRUPTIONS
from training.data.scanner import Scanner, corrupt, extent, scan
from training.data.warp import CANVAS_PX, geometry, warp


def rng(seed=0):
    return np.random.default_rng(seed)


def test_severity_zero_only_enlarges(digits):
    canvases = warp(digits.images[:4], geometry(0), rng())
    assert canvases.shape == (4, CANVAS_PX, CANVAS_PX)
    for image, canvas in zip(digits.images, canvases, strict=False):
        rows = np.flatnonzero(image.max(1) > 128)
        top, bottom = extent(canvas, axis=1)
        assert bottom - top == pytest.approx(2 * len(rows), abs=4)


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_a_warped_digit_keeps_ink_and_range(digits, severity):
    canvases = warp(digits.images, geometry(severity), rng())
    assert canvases.min() >= 0
    assert canvases.max() <= 1
    assert (canvases.max((1, 2)) > 0.5).all()


def test_the_same_generator_gives_the_same_crops(digits):
    first, second = (render.render_digits(digits, severity=3, seed=5)[0] for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_crops_have_the_sizes_asked_for(digits):
    canvas = warp(digits.images[:1], geometry(0), rng())[0]
    scanner = Scanner(height_px=(40, 41), margin_frac=(0, 0.01), clip_prob=0)
    for seed in range(20):
        crop = scan(canvas, scanner, rng(seed))
        assert crop.dtype == np.uint8
        assert 38 <= len(crop) <= 44


def test_polarity_is_drawn_as_often_as_asked(digits):
    canvas = warp(digits.images[:1], geometry(0), rng())[0]
    plain = Scanner(height_px=(30, 40), margin_frac=(0.3, 0.4), num_corruptions=(0, 0), clip_prob=0)
    source = rng()
    inverted = [frame(scan(canvas, plain, source)).inverted for _ in range(200)]
    assert 0.15 < np.mean(inverted) < 0.35


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_grows_with_severity(name, digits):
    distances = []
    for severity in (1, 5):
        apart = 0.0
        for seed, image in enumerate(digits.images[:24]):
            plain = corrupt(image, name, 0, rng(seed)).astype(float)
            changed = corrupt(image, name, severity, rng(seed)).astype(float)
            assert plain.shape == changed.shape
            apart += np.abs(plain - changed).mean()
        distances.append(apart)
    assert distances[1] > distances[0] > 0


def test_every_kind_of_garbage_is_drawn(digits):
    letters = digits.images[:5]
    material = garbage.Material(digits, letters)
    for kind in garbage.KINDS:
        crops = garbage.draw_kind(kind, material, 5, rng())
        assert len(crops) == 5
        assert all(crop.dtype == np.uint8 and min(crop.shape) >= 4 for crop in crops)


def test_without_fonts_there_is_other_garbage(digits):
    assert len(garbage.draw(garbage.Material(digits, None), 30, rng())) == 30


def test_two_digits_are_wider_than_one(digits):
    material = garbage.Material(digits, None)
    pairs = garbage.draw_kind("two_digits", material, 30, rng())
    singles, _ = render.render_digits(digits.take(slice(0, 30)), severity=1, seed=0)
    aspects = [
        np.mean([crop.shape[1] / crop.shape[0] for crop in part]) for part in (pairs, singles)
    ]
    assert aspects[0] > 1.3 * aspects[1]


SMALL = render.RenderConfig(num_crops=2 * render.CHUNK, num_processes=1)


@pytest.fixture(scope="module")
def sources():
    return render.Sources(draw_digits(64, seed=3), None, None)


@pytest.fixture(scope="module")
def pool(sources):
    return render.render_pool(sources, SMALL, seed=1)


def test_the_pool_is_framed_and_holds_its_share_of_garbage(pool):
    assert pool.images.shape == (len(pool), 28, 28)
    share = (pool.labels == render.GARBAGE_LABEL).mean()
    # Two digits in one crop are garbage, too, and a tenth of the damaged crops have two.
    assert SMALL.garbage_frac <= share <= SMALL.garbage_frac + SMALL.damaged_frac / 3
    digits = set(range(10))
    damaged = {digit + render.DAMAGED for digit in digits}
    assert set(pool.labels) <= digits | damaged | {render.GARBAGE_LABEL}
    assert np.isin(pool.labels, list(damaged)).mean() > SMALL.damaged_frac / 2
    assert (pool.images[pool.labels < 10].max((1, 2)) > 200).all()


@pytest.mark.slow
def test_the_pool_depends_on_its_seed_and_not_on_the_processes(pool, sources):
    other = render.render_pool(sources, replace(SMALL, num_processes=2), seed=1)
    np.testing.assert_array_equal(pool.images, other.images)
    different = render.render_pool(sources, replace(SMALL, num_crops=render.CHUNK), seed=2)
    assert not np.array_equal(pool.images[: render.CHUNK], different.images)
