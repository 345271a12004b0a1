"""Fields made of the 200 real crops' digits, five side by side, and what may be added to them."""

import numpy as np
from PIL import Image

PAPER, INK = 235, 30
NUM_FIELDS = 12


def write(images, rows, *, gap_px=5, scale=3):
    """Dark digits on light paper: each image is cut to its ink, all stand on one line."""
    glyphs = [image_of(images[row]) for row in rows]
    pieces = [np.zeros((28, gap_px * 2))]
    for glyph in glyphs:
        columns = np.flatnonzero(glyph.max(axis=0) > 0.1)
        pieces += [glyph[:, columns[0] : columns[-1] + 1], np.zeros((28, gap_px))]
    ink = np.concatenate([*pieces, np.zeros((28, gap_px))], axis=1)
    size = (ink.shape[1] * scale, ink.shape[0] * scale)
    ink = np.asarray(Image.fromarray(ink.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
    return np.rint(PAPER + (INK - PAPER) * np.clip(ink, 0, 1)).astype(np.uint8)


def image_of(image):
    return np.asarray(image).reshape(28, 28)


def strings(images, labels, num=NUM_FIELDS):
    """Fields and their codes: every sixteenth crop begins a string of five, far from each other."""
    rows = [[(start * 16 + step * 41) % len(labels) for step in range(5)] for start in range(num)]
    return [(write(images, some), "".join(str(labels[row]) for row in some)) for some in rows]


def with_margin(field, px):
    return np.pad(field, px, constant_values=PAPER)


def shifted(field, down, right):
    return np.pad(field, ((down, 0), (right, 0)), constant_values=PAPER)


def resized(field, scale):
    size = [round(side * scale) for side in reversed(field.shape)]
    return np.asarray(Image.fromarray(field).resize(size, Image.Resampling.BICUBIC))


def underlined(field, *, dotted=False):
    """A line of 3 px through the digits' feet, from one edge to the other."""
    lined = with_margin(field, 12).copy()
    row = lined.shape[0] - 12 - 14
    dots = np.arange(lined.shape[1]) % 9 < (3 if dotted else 9)
    lined[row : row + 3, dots] = INK + 40
    return lined


def framed(field):
    """A frame of 3 px around the digits, some paper outside."""
    lined = with_margin(field, 6).copy()
    for edge in (np.s_[:3], np.s_[-3:], np.s_[:, :3], np.s_[:, -3:]):
        lined[edge] = INK
    return with_margin(lined, 12)


def shaded(field, *, soft_px):
    """The right part is in a shadow, whose edge is oblique and so wide."""
    rows, columns = np.indices(field.shape)
    across = columns - 0.5 * field.shape[1] + 0.4 * (rows - field.shape[0] / 2)
    light = 1 - 0.5 * np.clip(across / soft_px + 0.5, 0, 1)
    return np.rint(field * light).astype(np.uint8)
