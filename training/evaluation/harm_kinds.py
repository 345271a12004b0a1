"""The kinds of damage that are judged, each at three severities.

Written apart from `training.data.damage`, which training draws from, so that a figure here says
something about damage that nobody listed. `HELD_OUT` kinds have no counterpart there at all. Pure:
everything random comes from the generator passed in. Knows nothing about models.
"""
# ruff: noqa: ARG001  every kind has the same signature

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from training.data.corruptions import Crop, to_crop, to_image

# (crop, severity 1 to 3, another digit's crop, rng) -> crop; dark ink on light paper, in [0, 1].
Kind = Callable[[Crop, int, Crop, np.random.Generator], Crop]


def _paper(crop: Crop) -> float:
    return float(np.quantile(crop, 0.9))


def _ink_box(crop: Crop) -> tuple[int, int, int, int]:
    """First and one-past-last row, first and one-past-last column of the ink."""
    inked = crop < (_paper(crop) + float(crop.min())) / 2
    rows, columns = np.flatnonzero(inked.any(1)), np.flatnonzero(inked.any(0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _cut_half(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    """Cut at 65, 50 or 40 % of the digit, from any side; the rest is not in the crop."""
    keep = (0.65, 0.5, 0.4)[severity - 1]
    top, bottom, left, right = _ink_box(crop)
    side = int(rng.integers(4))
    if side < 2:
        edge = round(keep * (bottom - top))
        return crop[: top + edge] if side == 0 else crop[bottom - edge :]
    edge = max(3, round(keep * (right - left)))
    return crop[:, : left + edge] if side == 2 else crop[:, right - edge :]


def _wrong_offset(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    """The crop lies a third to two thirds beside the digit, so that the next one shows."""
    share = (0.25, 0.4, 0.55)[severity - 1]
    beside = _same_height(other, crop)
    start = round(share * crop.shape[1])
    both = np.concatenate([crop, beside], axis=1)
    return both[:, start : start + crop.shape[1]]


def _turned_90(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    return np.rot90(crop, 1 if rng.random() < 0.5 else 3)


def _turned_180(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    return np.rot90(crop, 2)


def _mirrored(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    return crop[:, ::-1]


def _white_bar(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    """Paper over the middle: a tenth, a seventh or a fifth of the height."""
    return _bar(crop, (0.1, 1 / 7, 0.2)[severity - 1], axis=0, level=_paper(crop), rng=rng)


def _dark_stripe(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    level = float(crop.min())
    return _bar(crop, (0.05, 0.1, 0.18)[severity - 1], axis=1, level=level, rng=rng)


def _dark_stripe_blurred(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    return _blur(_dark_stripe(crop, severity, other, rng), severity, other, rng)


def _bar(crop: Crop, share: float, *, axis: int, level: float, rng: np.random.Generator) -> Crop:
    """A straight bar through the middle half of the ink, along the other axis."""
    box = _ink_box(crop)
    first, last = box[:2] if axis == 0 else box[2:]
    thick = max(1, round(share * crop.shape[axis]))
    middle = first + rng.uniform(0.35, 0.65) * (last - first)
    start = max(0, round(middle - thick / 2))
    out = crop.copy()
    chosen = slice(start, start + thick)
    out[(chosen, slice(None)) if axis == 0 else (slice(None), chosen)] = level
    return out


def _blur(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    """Gaussian; sigma is 1/30, 1/22 or 1/15 of the side."""
    sigma_px = max(crop.shape) / (30, 22, 15)[severity - 1]
    return to_crop(np.asarray(to_image(crop).filter(ImageFilter.GaussianBlur(sigma_px))) / 255)


def _motion_blur(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    length = max(2, round((0.1, 0.2, 0.3)[severity - 1] * crop.shape[1]))
    padded = np.pad(crop, ((0, 0), (length // 2, length - length // 2 - 1)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, length, axis=1)
    return to_crop(windows.mean(axis=2))


def _slant(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    shear = (0.5, 0.8, 1.1)[severity - 1] * float(rng.choice([-1, 1]))
    height, width = crop.shape
    grown = round(abs(shear) * height)
    image = to_image(crop).transform(
        (width + grown, height),
        Image.Transform.AFFINE,
        (1, shear, -grown if shear > 0 else 0, 0, 1, 0),
        Image.Resampling.BILINEAR,
        fillcolor=round(255 * _paper(crop)),
    )
    return to_crop(np.asarray(image) / 255)


def _shade(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    """A ramp across the crop that takes 40, 60 or 80 % of the light at its end."""
    depth = (0.4, 0.6, 0.8)[severity - 1]
    ramp = np.linspace(1, 1 - depth, crop.shape[1])
    return to_crop(crop * (ramp if rng.random() < 0.5 else ramp[::-1]))


def _grid(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    """Printed squared paper behind the digit."""
    period = max(4, round((0.5, 0.33, 0.25)[severity - 1] * crop.shape[0]))
    out = crop.copy()
    level = _paper(crop) * 0.45
    start = rng.integers(period, size=2)
    out[start[0] :: period] = np.minimum(out[start[0] :: period], level)
    out[:, start[1] :: period] = np.minimum(out[:, start[1] :: period], level)
    return out


def _inverted_half(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    seam = round((0.25, 0.4, 0.5)[severity - 1] * crop.shape[1])
    out = crop.copy()
    chosen = slice(0, seam) if rng.random() < 0.5 else slice(crop.shape[1] - seam, None)
    out[:, chosen] = _paper(crop) + crop.min() - out[:, chosen]
    return out


def _swapped_halves(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    axis = int(rng.integers(2))
    seam = round((0.3, 0.4, 0.5)[severity - 1] * crop.shape[axis])
    return np.roll(crop, seam, axis=axis)


def _blot(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    """A round spot of ink or paper on the digit."""
    top, bottom, left, right = _ink_box(crop)
    radius = (0.12, 0.18, 0.25)[severity - 1] * (bottom - top)
    y = top + rng.uniform(0.2, 0.8) * (bottom - top)
    x = left + rng.uniform(0.2, 0.8) * (right - left)
    rows, columns = np.indices(crop.shape)
    out = crop.copy()
    level = float(crop.min()) if rng.random() < 0.5 else _paper(crop)
    out[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = level
    return out


def _stamp_ink(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    """A ring and wavy lines of a cancellation, as dark as the pen."""
    height, width = crop.shape
    image = to_image(crop)
    draw = ImageDraw.Draw(image)
    level = round(255 * float(crop.min()))
    thick = max(1, round(0.05 * height))
    radius = rng.uniform(0.5, 0.9) * height
    x, y = rng.uniform(-0.2, 1.2) * width, rng.uniform(-0.2, 1.2) * height
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=level, width=thick)
    for _ in range(severity):
        across = np.linspace(0, width, 24)
        wave = rng.uniform(0.1, 0.9) * height + 0.08 * height * np.sin(across / width * 9)
        draw.line([(float(a), float(b)) for a, b in zip(across, wave, strict=True)], level, thick)
    return to_crop(np.asarray(image) / 255)


def _dead_columns(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    """Sensor columns that always read paper."""
    out = crop.copy()
    share = (0.15, 0.3, 0.45)[severity - 1]
    dead = rng.choice(crop.shape[1], max(1, round(share * crop.shape[1])), replace=False)
    out[:, dead] = _paper(crop)
    return out


def _thin_pencil(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    """A hard pencil: thin, grey, broken by the paper's grain."""
    size = 3 if crop.shape[0] < 60 else 5
    thin = to_crop(np.asarray(to_image(crop).filter(ImageFilter.MaxFilter(size))) / 255)
    paper = _paper(crop)
    pale = paper + (thin - paper) * (0.6, 0.4, 0.3)[severity - 1]
    grain = rng.random(crop.shape) < (0.1, 0.2, 0.3)[severity - 1]
    return to_crop(np.where(grain, paper, pale))


def _bleeding_marker(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    size = (3, 5, 7)[severity - 1] if crop.shape[0] < 60 else (5, 7, 11)[severity - 1]
    swollen = to_image(crop).filter(ImageFilter.MinFilter(size))
    return to_crop(np.asarray(swollen.filter(ImageFilter.GaussianBlur(1))) / 255)


def _two_digits(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    """The next digit beside it: apart, touching, overlapping."""
    beside = _same_height(other, crop)
    overlap = round((0.0, 0.15, 0.3)[severity - 1] * min(crop.shape[1], beside.shape[1]))
    width = crop.shape[1] + beside.shape[1] - overlap
    out = np.full((crop.shape[0], width), _paper(crop), np.float32)
    out[:, : crop.shape[1]] = crop
    out[:, width - beside.shape[1] :] = np.minimum(out[:, width - beside.shape[1] :], beside)
    return out


def _letter(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    return crop  # drawn from letters


def _double_feed(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    """Two envelopes in one exposure: the digits lie on each other."""
    height, width = crop.shape
    over = np.asarray(to_image(other).resize((width, height), Image.Resampling.BILINEAR)) / 255
    moved = np.roll(over, (int(rng.integers(-3, 4)), int(rng.integers(-3, 4))), (0, 1))
    paper = _paper(crop)
    pale = paper + (moved - paper) * (0.5, 0.8, 1.0)[severity - 1]
    return to_crop(np.minimum(crop, pale))


def _moire(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    """Two screens of nearly the same pitch."""
    rows, columns = np.indices(crop.shape)
    depth = (0.35, 0.55, 0.75)[severity - 1]
    waves = np.zeros(crop.shape)
    for angle in rng.uniform(0, np.pi, 2):
        pitch = rng.uniform(2.2, 4.5)
        waves += np.sin(2 * np.pi * (rows * np.sin(angle) + columns * np.cos(angle)) / pitch)
    return to_crop(crop * (1 - depth * (0.5 + waves / 4)))


def _staple(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    """A staple's bright wire with its shadow, and its two ends."""
    height, width = crop.shape
    image = to_image(crop)
    draw = ImageDraw.Draw(image)
    length = (0.4, 0.6, 0.8)[severity - 1] * width
    x, y = rng.uniform(0.1, 0.9 - 0.8 * length / width) * width, rng.uniform(0.25, 0.75) * height
    slope = rng.uniform(-0.15, 0.15) * length
    thick = max(1, round(0.06 * height))
    dark = round(255 * min(1.0, float(crop.min()) + 0.1))
    draw.line((x, y + thick, x + length, y + slope + thick), fill=dark, width=thick)
    draw.line((x, y, x + length, y + slope), fill=235, width=thick)
    for at_x, at_y in ((x, y), (x + length, y + slope)):
        draw.ellipse((at_x - thick, at_y - thick, at_x + thick, at_y + thick), fill=dark)
    return to_crop(np.asarray(image) / 255)


def _torn_corner(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    """A corner is gone along a ragged line; what lies beneath is lighter or darker."""
    height, width = crop.shape
    reach = (0.75, 0.95, 1.15)[severity - 1]
    rows, columns = np.indices(crop.shape)
    ragged = np.cumsum(rng.normal(0, 0.02, height))[:, None]
    gone = rows / height + columns / width + ragged < reach
    gone = gone[:: int(rng.choice([-1, 1])), :: int(rng.choice([-1, 1]))]
    out = crop.copy()
    out[gone] = _paper(crop) if rng.random() < 0.6 else _paper(crop) * 0.7
    return out


def _ripple(crop: Crop, severity: int, other: Crop, rng: np.random.Generator) -> Crop:
    """The paper slips under the sensor: each row is shifted by a wave."""
    depth = (0.06, 0.12, 0.2)[severity - 1] * crop.shape[1]
    pitch = rng.uniform(0.25, 0.6) * crop.shape[0]
    phase = rng.uniform(0, 2 * np.pi)
    shifts = np.rint(depth * np.sin(2 * np.pi * np.arange(len(crop)) / pitch + phase)).astype(int)
    return np.stack([np.roll(row, shift) for row, shift in zip(crop, shifts, strict=True)])


def _same_height(other: Crop, crop: Crop) -> Crop:
    width = max(3, round(other.shape[1] * crop.shape[0] / other.shape[0]))
    image = to_image(other).resize((width, crop.shape[0]), Image.Resampling.BILINEAR)
    return to_crop(np.asarray(image) / 255)


KINDS: Mapping[str, Kind] = {
    "cut_half": _cut_half,
    "wrong_offset": _wrong_offset,
    "turned_90": _turned_90,
    "turned_180": _turned_180,
    "mirrored": _mirrored,
    "white_bar": _white_bar,
    "dark_stripe": _dark_stripe,
    "dark_stripe_blurred": _dark_stripe_blurred,
    "blur": _blur,
    "motion_blur": _motion_blur,
    "slant": _slant,
    "shade": _shade,
    "grid": _grid,
    "inverted_half": _inverted_half,
    "swapped_halves": _swapped_halves,
    "blot": _blot,
    "stamp_ink": _stamp_ink,
    "dead_columns": _dead_columns,
    "thin_pencil": _thin_pencil,
    "bleeding_marker": _bleeding_marker,
    "two_digits": _two_digits,
    "letter": _letter,
    "double_feed": _double_feed,
    "moire": _moire,
    "staple": _staple,
    "torn_corner": _torn_corner,
    "ripple": _ripple,
}
HELD_OUT = ("double_feed", "moire", "staple", "torn_corner", "ripple")
NO_DIGIT = ("two_digits", "letter")  # whatever is accepted is wrong
