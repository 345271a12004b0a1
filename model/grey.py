"""A decoded picture -> grey. Knows colour and transparency, no file format."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PAPER: Final = 255  # what a transparent pixel shows: white paper
# Where the grey levels differ by less, ink and paper may differ in colour or transparency alone.
LOW_CONTRAST: Final = 48
MIN_OTHER_CONTRAST: Final = 32  # of a colour or of transparency to be taken for ink
MIN_OTHER_RATIO: Final = 3  # to the grey's: a noisy chip's blue has twice the noise of its grey
_MAY_BE_LOW: Final = 2 * LOW_CONTRAST  # of the extremes, which noise spreads
_OUTER_FRAC: Final = 0.02  # of the pixels, on either side, that contrast does not count
_LOOK_SIDE_PX: Final = 32  # reduced by a whole factor to no less: that takes noise away
_STRIP_ROWS: Final = 128
_NARROW_BITS: Final = (8, 10, 12, 14)


def grey_of(picture: Image.Image) -> NDArray[np.uint8]:
    """Convert any 8-bit mode to grey on white paper.

    Where grey shows next to nothing, the red, green or blue channel or the transparency is taken
    that shows most.

    Args:
        picture: of mode 1, L, LA, P, RGB, RGBA or CMYK.

    Returns:
        (H, W) uint8, 0 black to 255 white.
    """
    if picture.mode == "L":
        return np.asarray(picture)
    if picture.mode == "1":
        return np.asarray(picture.convert("L"))
    alpha = None
    if picture.has_transparency_data:
        rgba = picture if picture.mode == "RGBA" else picture.convert("RGBA")
        alpha = rgba.getchannel("A")
        if alpha.getextrema() == (255, 255):
            picture, alpha = rgba, None
        else:
            picture = _on_paper(rgba)
    luma = picture.convert("L")
    darkest, lightest = luma.getextrema()
    if lightest - darkest >= _MAY_BE_LOW:  # type: ignore[operator]  # of one band: two numbers
        return np.asarray(luma)
    colour = picture if picture.mode == "RGB" else picture.convert("RGB")
    return np.asarray(_most_contrast(luma, colour, alpha))


def show_paper(grey: NDArray[np.uint8], is_transparent: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Show paper where a grey picture has its transparent level; the rest is ink if it is white."""
    shown = np.where(is_transparent, np.uint8(PAPER), grey)
    if int(shown.max()) - int(shown.min()) >= LOW_CONTRAST or is_transparent.all():
        return shown
    return np.where(is_transparent, np.uint8(PAPER), np.uint8(0)) if is_transparent.any() else shown


def narrow_16_bit(wide: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Scale 16-bit samples to 8 bits, by the smallest range in use that holds them.

    Sensors of 8 to 14 bits are often stored as they are, in 16-bit files: all of their values
    would be black. PNG's sBIT does not tell: it counts bits after scaling to the whole range.
    A dark picture that was scaled from 8 bits, times 257 or 256, has the whole range.
    """
    brightest = int(wide.max())
    bits = next((bits for bits in _NARROW_BITS if brightest < 1 << bits), 16)
    if bits < 16 and (not (wide & 0xFF).any() or np.array_equal(wide >> 8, wide & 0xFF)):
        bits = 16
    most = (1 << bits) - 1
    table = (np.arange(most + 1, dtype=np.uint32) * 255 // most).astype(np.uint8)
    narrow = np.empty(wide.shape, dtype=np.uint8)
    for top in range(0, len(wide), _STRIP_ROWS):  # numpy makes 64-bit indices of what it looks up
        narrow[top : top + _STRIP_ROWS] = table[wide[top : top + _STRIP_ROWS]]
    return narrow


def turn_upright(grey: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn a picture as its EXIF orientation demands.

    Source:
        CIPA DC-008 (Exif 2.32), 4.6.4, tag 274.
    """
    if orientation >= 5:
        grey = grey.T
    if orientation in (2, 3, 6, 7):
        grey = grey[:, ::-1]
    if orientation in (3, 4, 7, 8):
        grey = grey[::-1]
    return np.ascontiguousarray(grey)


def _on_paper(rgba: Image.Image) -> Image.Image:
    """The picture on white paper, strip by strip: a whole one would need two more copies."""
    width, height = rgba.size
    shown = Image.new("RGB", rgba.size)
    paper = Image.new("RGBA", (width, _STRIP_ROWS), (PAPER, PAPER, PAPER, 255))
    for top in range(0, height, _STRIP_ROWS):
        strip = rgba.crop((0, top, width, min(top + _STRIP_ROWS, height)))
        under = paper if strip.size == paper.size else paper.crop((0, 0, *strip.size))
        shown.paste(Image.alpha_composite(under, strip).convert("RGB"), (0, top))
    return shown


def _most_contrast(
    luma: Image.Image, colour: Image.Image, alpha: Image.Image | None
) -> Image.Image:
    """The grey, or the channel that tells ink from paper where the grey does not."""
    least = _contrast(_small(luma))
    if least >= LOW_CONTRAST:
        return luma
    contrasts = [_contrast(band) for band in _small(colour).split()]
    if alpha is not None:
        contrasts.append(_contrast(_small(alpha)))
    most = max(contrasts)
    if most < max(MIN_OTHER_CONTRAST, MIN_OTHER_RATIO * least):
        return luma
    place = contrasts.index(most)
    if alpha is not None and place == len(contrasts) - 1:
        return alpha.point(lambda level: 255 - level)  # opaque is ink
    return colour.getchannel(place)


def _small(picture: Image.Image) -> Image.Image:
    factor = max(picture.size) // _LOOK_SIDE_PX
    return picture.reduce(factor) if factor > 1 else picture


def _contrast(band: Image.Image) -> int:
    """Levels between the band's darkest and lightest parts, without the outermost pixels."""
    counts = np.cumsum(band.histogram())
    outer = int(counts[-1]) * _OUTER_FRAC
    darkest, lightest = np.searchsorted(counts, (outer, counts[-1] - outer), side="right")
    return int(min(lightest, 255) - darkest)
