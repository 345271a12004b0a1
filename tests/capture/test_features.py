from __future__ import annotations

import numpy as np
import pytest

from capture.features import (
    CROP_FEATURES,
    IMAGE_FEATURES,
    SCORE_FEATURES,
    crop_features,
    image_features,
    score_features,
)


def bar(width: int = 4, lean: float = 0.0, level: int = 255) -> np.ndarray:
    """An upright bar in the model's frame; `lean` px to the right at its top."""
    image = np.zeros((28, 28), np.uint8)
    for row in range(4, 24):
        left = round(12 + lean * (14 - row) / 20)
        image[row, left : left + width] = level
    return image


def page(paper: int = 230, ink: int = 30, height: int = 60, margin: int = 15) -> np.ndarray:
    crop = np.full((height, 40), paper, np.uint8)
    crop[margin : height - margin, 16:24] = ink
    return crop


def of_image(image: np.ndarray, name: str) -> float:
    return float(image_features(image[None])[0, IMAGE_FEATURES.index(name)])


def of_crop(crop: np.ndarray, name: str) -> float:
    return float(crop_features(crop)[CROP_FEATURES.index(name)])


@pytest.mark.parametrize("width", [3, 5, 7])
def test_stroke_width_is_the_bar_s_width(width):
    assert of_image(bar(width), "stroke_width_px") == pytest.approx(width, rel=0.25)


def test_ink_mass_is_the_share_of_the_frame():
    assert of_image(bar(4), "ink_mass") == pytest.approx(80 / 784)


@pytest.mark.parametrize("lean", [-8, 0, 8])
def test_slant_follows_the_bar(lean):
    degrees = np.degrees(np.arctan(lean / 20))
    assert of_image(bar(4, lean), "slant_deg") == pytest.approx(degrees, abs=2.5)


def test_grey_edges_are_counted_among_ink_only():
    assert of_image(bar(), "grey_edge_share") == 0
    assert of_image(bar(level=120), "grey_edge_share") == 1


def test_an_empty_image_has_finite_features():
    assert np.isfinite(image_features(np.zeros((2, 28, 28), np.uint8))).all()


@pytest.mark.parametrize("invert", [False, True])
def test_paper_and_ink_are_told_apart_in_either_polarity(invert):
    crop = 255 - page() if invert else page()
    assert of_crop(crop, "paper_grey") == pytest.approx((25 if invert else 230) / 255)
    assert of_crop(crop, "contrast") == pytest.approx(200 / 255)
    assert of_crop(crop, "margin") == pytest.approx((30 / 60 + 32 / 40) / 4)
    assert of_crop(crop, "height_px") == 60


def test_blur_lowers_sharpness():
    from PIL import Image, ImageFilter

    blurred = np.asarray(Image.fromarray(page()).filter(ImageFilter.GaussianBlur(3)))
    assert of_crop(page(), "sharpness") == pytest.approx(1)
    assert of_crop(blurred, "sharpness") < 0.5


def test_dirt_on_the_paper_shows_as_grain():
    dirty = page().astype(int) + np.random.default_rng(0).integers(-25, 25, (60, 40))
    assert of_crop(page(), "paper_grain") == 0
    assert of_crop(dirty.clip(0, 255).astype(np.uint8), "paper_grain") > 0.04


@pytest.mark.parametrize("shape", [(1, 1), (4, 300), (300, 4)])
@pytest.mark.parametrize("level", [0, 255])
def test_flat_crops_of_any_shape_have_finite_features(shape, level):
    assert np.isfinite(crop_features(np.full(shape, level, np.uint8))).all()


def test_scores_of_a_sure_and_an_unsure_answer():
    sure, unsure = np.eye(10, dtype=np.float32)[0], np.full(10, 0.1, np.float32)
    entropy, gap = score_features(np.stack([sure, unsure])).T
    assert SCORE_FEATURES == ("entropy", "gap")
    assert entropy == pytest.approx([0, np.log2(10)], abs=1e-4)
    assert gap == pytest.approx([1, 0], abs=1e-6)
