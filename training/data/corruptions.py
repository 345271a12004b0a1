"""The twelve corruptions of paper, pen and scanner.

Each is (crop, severity 0-5, rng) -> crop of the same shape, dark ink on light paper. Pure:
everything random comes from the generator passed in. Knows nothing about digits.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Crop: TypeAlias = NDArray[np.float32]  # (H, W) grey in [0, 1] while it is being drawn


def to_image(crop: Crop) -> Image.Image:
    """(H, W) grey in [0, 1] -> a Pillow image of bytes."""
    return Image.fromarray(np.rint(np.clip(crop, 0, 1) * 255).astype(np.uint8))


def _grey(image: Image.Image) -> Crop:
    return to_crop(np.asarray(image) / 255)


def to_crop(grey: NDArray[np.floating]) -> Crop:
    """(H, W) grey in [0, 1] of any precision -> float32."""
    crop: Crop = grey.astype(np.float32)
    return crop


def _blur(crop: Crop, severity: float, rng: np.random.Generator) -> Crop:
    radius_px = max(0.25, 0.012 * severity * min(len(crop), 90)) * rng.uniform(0.7, 1.2)
    return _grey(to_image(crop).filter(ImageFilter.GaussianBlur(radius_px)))


def _sensor_noise(crop: Crop, severity: float, rng: np.random.Generator) -> Crop:
    noise = rng.standard_normal(crop.shape, dtype=np.float32)
    return crop + np.float32(0.032 * severity) * noise


def _salt_and_pepper(crop: Crop, severity: float, rng: np.random.Generator) -> Crop:
    chance = rng.random(crop.shape, dtype=np.float32)
    share = 0.009 * severity
    out = crop.copy()
    out[chance < share / 2] = 0
    out[chance > 1 - share / 2] = 1
    return out


def _fade(crop: Crop, severity: float, rng: np.random.Generator) -> Crop:
    keep = 1 - 0.15 * severity
    level = rng.uniform(0.35, 0.9)
    return (level + (crop - level) * keep).astype(np.float32)


def _shade(crop: Crop, severity: float, rng: np.random.Generator) -> Crop:
    height, width = crop.shape
    angle = rng.uniform(0, 2 * np.pi)
    rows = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None] * np.sin(angle)
    columns = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None] * np.cos(angle)
    ramp = 1 - 0.09 * severity * (1 + 2 * (rows + columns)) / 1.5
    return to_crop(crop * ramp)


def _stripes(crop: Crop, severity: float, rng: np.random.Generator) -> Crop:
    height, width = crop.shape
    period_px = rng.uniform(3, max(4.0, height / 3))
    angle = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
    rows, columns = np.arange(height)[:, None], np.arange(width)[None]
    phase = (rows * np.sin(angle) + columns * np.cos(angle)) / period_px + rng.random()
    wave = np.sin(2 * np.pi * phase)
    if rng.random() < 0.5:
        wave = np.sign(wave)
    return to_crop(crop * (1 - 0.028 * severity * (1 + wave)))


def _jpeg(crop: Crop, severity: float, rng: np.random.Generator) -> Crop:
    quality = int(np.clip(70 - 13 * severity + rng.integers(-3, 4), 3, 95))
    packed = io.BytesIO()
    to_image(crop).save(packed, "JPEG", quality=quality)
    return _grey(Image.open(packed))


def _lines(crop: Crop, severity: float, rng: np.random.Generator) -> Crop:
    """Form boxes and underlines near the edges, nearer and darker with severity."""
    height, width = crop.shape
    image = to_image(crop)
    draw = ImageDraw.Draw(image)
    level = int(rng.uniform(0.1, 0.75 - 0.08 * severity) * 255)
    thick_px = max(1, round(0.012 * severity * height * rng.uniform(0.5, 1.5)))
    reach = 0.02 * severity
    for side in rng.permutation(4)[: 1 + int(severity * rng.random())]:
        offset = rng.uniform(0, reach)
        slope = rng.normal(0, 0.015)
        if side < 2:
            y = offset * height if side == 0 else (1 - offset) * height - 1
            line = (0, y, width, y + slope * width)
        else:
            x = offset * width if side == 2 else (1 - offset) * width - 1
            line = (x, 0, x + slope * height, height)
        draw.line(line, fill=level, width=thick_px)
    return np.minimum(crop, _grey(image))


def _stamp(crop: Crop, severity: float, rng: np.random.Generator) -> Crop:
    """A cancellation: arcs of thin grey ink across the crop."""
    height, width = crop.shape
    image = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(image)
    thick_px = max(1, round(0.02 * height))
    for _ in range(1 + int(severity / 2)):
        radius = rng.uniform(0.6, 3) * height
        angle = rng.uniform(0, 2 * np.pi)
        reach = rng.uniform(-0.5, 0.5) * height + radius
        x, y = width / 2 + reach * np.cos(angle), height / 2 + reach * np.sin(angle)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=0, width=thick_px)
    strength = min(0.9, 0.1 * severity + 0.05)
    return (crop * (1 - strength * (1 - _grey(image)))).astype(np.float32)


def _bleed_through(crop: Crop, severity: float, rng: np.random.Generator) -> Crop:
    """The back of the sheet: mirrored, shifted, blurred and pale."""
    height, width = crop.shape
    back = np.roll(crop[:, ::-1], (int(rng.integers(height)), int(rng.integers(width))), (0, 1))
    back = _grey(to_image(back).filter(ImageFilter.GaussianBlur(max(0.5, 0.02 * height))))
    pale = (back - back.max()) * 0.11 * severity
    return to_crop(crop + pale * (crop > 0.4))


def _low_resolution(crop: Crop, severity: float, rng: np.random.Generator) -> Crop:
    height, width = crop.shape
    small_px = max(7.0, 30 - 4.5 * severity + rng.uniform(-1, 1))
    scale = min(1.0, small_px / height)
    small = to_image(crop).resize(
        (max(4, round(width * scale)), max(4, round(height * scale))), Image.Resampling.BOX
    )
    return _grey(small.resize((width, height), Image.Resampling.BILINEAR))


def _binary(crop: Crop, severity: float, rng: np.random.Generator) -> Crop:
    """A bilevel scan: noise first, then a threshold off centre."""
    dark, light = float(crop.min()), float(crop.max())
    middle = dark + (light - dark) * (0.5 + rng.uniform(-1, 1) * 0.06 * severity)
    ragged = crop + np.float32(0.025 * severity * (light - dark)) * rng.standard_normal(
        crop.shape, dtype=np.float32
    )
    return np.where(ragged > middle, np.float32(1), np.float32(0))


CORRUPTIONS: Mapping[str, Callable[[Crop, float, np.random.Generator], Crop]] = {
    "blur": _blur,
    "sensor_noise": _sensor_noise,
    "salt_and_pepper": _salt_and_pepper,
    "fade": _fade,
    "shade": _shade,
    "stripes": _stripes,
    "jpeg": _jpeg,
    "lines": _lines,
    "stamp": _stamp,
    "bleed_through": _bleed_through,
    "low_resolution": _low_resolution,
    "binary": _binary,
}
