"""Takes uneven light out of a crop: a shadow's edge, a gradient, a vignette, a spot of light.

The paper's brightness at each pixel is estimated by a morphological closing, which fills in dark
strokes and follows every shadow that is wider than a stroke. Knows nothing about digits.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.errors import BlankCrop
from model.tones import Tones, find_tones

WINDOW_FRAC: Final = 0.35  # of the longest side: wider than any stroke, narrower than a shadow
UNEVEN_FRAC: Final = 0.3  # of the contrast: paper that differs by less is read well as it is
DARK_BORDER_FRAC: Final = 0.08  # of the border: a shadow comes in from outside
FLOOR_GREY: Final = 40.0  # paper darker than this is black; dividing by it would amplify the noise
LIGHT_INK_LEAD: Final = 0.2  # in plainness: dark ink is so much more common
DARK_INK_PLAIN: Final = 2.42  # above: no need to try light ink
PLAIN: Final = 2.6  # a digit on paper that is evened out well
MIXED_SEPARABILITY: Final = 0.8  # Otsu's, below: the light is uneven in any case
SEPARABILITY_LEAD: Final = 0.05  # evening out does not lower noise, so a noisy crop has less
CLEAR_BORDER_FRAC: Final = 0.15  # a bold digit that fills its crop has more
MAX_PEN_FRAC: Final = 0.4  # of the area
SMALL_LEAD: Final = 0.15  # over the plainness before
LARGE_LEAD: Final = 0.4  # for a result that is less plain than that
REDUCE: Final = 2  # the estimate is made at half the size, in a quarter of the time


def even_out(
    grey: NDArray[np.uint8], tones: Tones, window_px: int | None = None
) -> tuple[NDArray[np.uint8], Tones] | None:
    """Divide the paper's brightness out of a crop.

    Args:
        grey: (H, W) uint8.
        tones: of this crop, by the global threshold.
        window_px: wider than a stroke, narrower than a shadow; None: a share of the longest side,
            for a crop of one digit.

    Returns:
        (H, W) uint8 with even paper, and its tones; None where the paper is even already, or where
        evening it out does not show a digit on paper any better.
    """
    if min(grey.shape) < 4 * REDUCE:
        return None
    small = np.asarray(Image.fromarray(grey).reduce(REDUCE))
    contrast = abs(tones.paper - tones.pen)
    # With the right polarity the strokes vanish in the estimate, so paper that is even looks even.
    window = window_px or round(WINDOW_FRAC * max(grey.shape))
    window = max(3, round(window / REDUCE))
    lighter = _estimate_paper(small, contrast, window)
    if lighter is None:
        return None
    darker = _estimate_paper(~small, contrast, window)
    if darker is None:
        return None
    evened = _split(_divide(grey, lighter), inverted=False)
    plain = 0.0 if evened is None else _plainness(evened[1])
    if plain < DARK_INK_PLAIN:
        light_ink = _split(~_divide(~grey, darker), inverted=True)
        needed = max(PLAIN, plain + LIGHT_INK_LEAD)
        if light_ink is not None and _plainness(light_ink[1]) > needed:
            evened = light_ink
    return evened if evened is not None and _is_better(evened[1], tones) else None


def _split(evened: NDArray[np.uint8], *, inverted: bool) -> tuple[NDArray[np.uint8], Tones] | None:
    try:
        return evened, find_tones(evened, inverted=inverted)
    except BlankCrop:
        return None


def _is_better(evened: Tones, before: Tones) -> bool:
    lead = _plainness(evened) - _plainness(before)
    if before.separability < MIXED_SEPARABILITY:
        return lead >= 0.0 and evened.separability >= before.separability + SEPARABILITY_LEAD
    if _fills_its_crop(evened):
        return False
    if _plainness(evened) < PLAIN:
        return lead >= LARGE_LEAD
    return lead >= SMALL_LEAD or (before.inverted and not evened.inverted)


def _fills_its_crop(tones: Tones) -> bool:
    """Whether it may be a bold digit, whose strokes are as wide as a shadow."""
    return (
        tones.border_ink_frac > CLEAR_BORDER_FRAC
        or tones.pen_frac > MAX_PEN_FRAC
        or (tones.crosses_lying and tones.crosses_upright)
    )


def _plainness(tones: Tones) -> float:
    """How much a crop looks like two tones with paper all around: up to 3."""
    return 1.0 - tones.border_ink_frac + 1.0 - tones.pen_frac + tones.separability


def _estimate_paper(
    small: NDArray[np.uint8], contrast: float, window: int
) -> NDArray[np.uint8] | None:
    """The brightness of light paper at each pixel; None where it is even."""
    paper = _close(small, window)
    border = np.concatenate([paper[0], paper[-1], paper[:, 0], paper[:, -1]])
    is_dark = border < float(paper.max()) - UNEVEN_FRAC * contrast
    return paper if np.count_nonzero(is_dark) >= DARK_BORDER_FRAC * border.size else None


def _divide(grey: NDArray[np.uint8], paper: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Dark ink on light paper of about 255."""
    smooth = Image.fromarray(paper).resize(grey.shape[::-1], Image.Resampling.BILINEAR)
    level = np.maximum(np.asarray(smooth, dtype=np.float32), 1.0)
    shade = (level - grey) / np.maximum(level, FLOOR_GREY)
    return (255.0 * (1.0 - np.clip(shade, 0.0, 1.0))).astype(np.uint8)


def _close(grey: NDArray[np.uint8], window_px: int) -> NDArray[np.uint8]:
    """Grey closing by a square window, cut off at the crop's edges."""
    for extreme, outside in ((np.maximum, 0), (np.minimum, 255)):
        grey = _slide(_slide(grey, window_px, extreme, outside).T, window_px, extreme, outside).T
    return grey


def _slide(
    grey: NDArray[np.uint8], window_px: int, extreme: Callable[..., Any], outside: int
) -> NDArray[np.uint8]:
    """Largest or smallest value in a window along the rows' axis, by doubling the window."""
    before = window_px // 2
    height, width = grey.shape
    wide = np.full((height + window_px - 1, width), outside, dtype=np.uint8)
    wide[before : before + height] = grey
    have_px = 1
    while have_px < window_px:
        step = min(have_px, window_px - have_px)
        wide = extreme(wide[step:], wide[:-step])
        have_px += step
    return wide
