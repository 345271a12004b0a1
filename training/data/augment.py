"""The scanner simulator: digits in MNIST's frame become crops as a sorting machine would send them.

Pure: everything random comes from the generator passed in. Two stages. `warp` moves, bends, thins
and breaks the strokes of a whole batch; `scan` puts one digit on paper and through a scanner.
The same twelve corruptions make the robustness suite (`corrupt`), at severities 1 to 5.
Knows nothing about models or preprocessing.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from torch.nn import functional

Crop: TypeAlias = NDArray[np.float32]  # (H, W) grey in [0, 1] while it is being drawn

CANVAS_PX = 72
COARSE_PX = 18  # the sampling grid is drawn this coarse: an affine map loses nothing by it
FRAME_PX = 40  # the 20 px digit box of MNIST on the canvas, drawn at twice the size
MAX_SEVERITY = 5


@dataclass(frozen=True, slots=True)
class Geometry:
    """Ranges of `warp`; all are half-widths around "unchanged"."""

    rotation_rad: float
    shear: float  # horizontal shift per unit of height: slant
    stretch_frac: float  # each axis by itself
    elastic_frac: float  # of the digit box
    stroke_px: float  # on the canvas, where a stroke is about 6 px wide
    broken_prob: float


def geometry(severity: float) -> Geometry:
    """The ranges for a severity from 0 (nothing) to 5; 3 is an ordinary mail piece."""
    share = severity / MAX_SEVERITY
    return Geometry(
        rotation_rad=0.32 * share,
        shear=0.5 * share,
        stretch_frac=0.38 * share,
        elastic_frac=0.075 * share,
        stroke_px=2.4 * share,
        broken_prob=0.1 * share,
    )


def warp(ink: NDArray[np.uint8], bounds: Geometry, rng: np.random.Generator) -> Crop:
    """Move, bend, thin, thicken and break digits.

    Args:
        ink: (N, S, S) uint8, ink bright, MNIST's frame at any resolution S.
        bounds: how far.
        rng: source of randomness.

    Returns:
        (N, CANVAS_PX, CANVAS_PX) float32 in [0, 1], ink bright, digit in the middle.
    """
    source = torch.from_numpy(ink.astype(np.float32) / 255)[:, None]
    grid = _sampling_grid(len(ink), bounds, rng)
    moved = functional.grid_sample(source, grid, mode="bilinear", align_corners=False)
    moved = _change_stroke(moved, bounds, rng)
    if bounds.broken_prob:
        moved = _break_strokes(moved, bounds, rng)
    crisp = torch.from_numpy(rng.uniform(1.0, 2.5, (len(ink), 1, 1, 1)).astype(np.float32))
    moved = ((moved - 0.5) * crisp + 0.5).clamp(0, 1)
    canvases: Crop = moved[:, 0].numpy()
    return canvases


def _sampling_grid(num: int, bounds: Geometry, rng: np.random.Generator) -> torch.Tensor:
    """Where each canvas pixel comes from: affine plus elastic, drawn coarse and interpolated.

    Returns:
        (N, CANVAS_PX, CANVAS_PX, 2) float32 in grid_sample's units.
    """
    angle = rng.uniform(-1, 1, num) * bounds.rotation_rad
    shear = rng.uniform(-1, 1, num) * bounds.shear
    stretch = np.exp(rng.uniform(-1, 1, (2, num)) * bounds.stretch_frac)
    # grid_sample maps output to input: one unit of canvas is this many units of the source
    zoom = CANVAS_PX / FRAME_PX * 20 / 28
    matrix = np.empty((num, 2, 2))
    matrix[:, 0, 0] = np.cos(angle) * stretch[0]
    matrix[:, 0, 1] = (-np.sin(angle) + shear) * stretch[0]
    matrix[:, 1, 0] = np.sin(angle) * stretch[1]
    matrix[:, 1, 1] = np.cos(angle) * stretch[1]
    axis = np.linspace(-1, 1, COARSE_PX) * (1 - 1 / CANVAS_PX)
    points = np.stack(np.meshgrid(axis, axis))  # x, y
    straight = torch.from_numpy(np.einsum("nij,jhw->nihw", matrix * zoom, points)).float()
    bend = torch.from_numpy(rng.normal(0, bounds.elastic_frac, (num, 2, 6, 6))).float()
    bend = functional.interpolate(bend, size=COARSE_PX, mode="bicubic", align_corners=True)
    fine = functional.interpolate(
        straight + bend, size=CANVAS_PX, mode="bilinear", align_corners=True
    )
    return fine.permute(0, 2, 3, 1)


def _change_stroke(moved: torch.Tensor, bounds: Geometry, rng: np.random.Generator) -> torch.Tensor:
    """Blend with the dilated or eroded digit; the blend makes the change continuous."""
    amount = rng.uniform(-1, 1, len(moved)) * bounds.stroke_px / 2
    amount[amount < 0] *= 0.75  # thin strokes vanish sooner than thick ones fill
    out = moved.clone()
    for sign in (-1, 1):
        for whole in (0, 1):
            chosen = np.flatnonzero(
                (np.sign(amount) == sign) & (np.abs(amount).astype(int) == whole)
            )
            if not len(chosen):
                continue
            index = torch.from_numpy(chosen)
            near = sign * moved[index]
            if whole:
                near = functional.max_pool2d(near, 3, 1, 1)
            far = functional.max_pool2d(near, 3, 1, 1)
            part = torch.from_numpy((np.abs(amount[chosen]) - whole).astype(np.float32))
            out[index] = sign * torch.lerp(near, far, part.clamp(0, 1)[:, None, None, None])
    return out


def _break_strokes(moved: torch.Tensor, bounds: Geometry, rng: np.random.Generator) -> torch.Tensor:
    """Let ink run dry in blobs of about a stroke's width."""
    chosen = np.flatnonzero(rng.random(len(moved)) < bounds.broken_prob)
    if not len(chosen):
        return moved
    coarse = rng.normal(0, 1, (len(chosen), 1, 14, 14)).astype(np.float32)
    fine = functional.interpolate(torch.from_numpy(coarse), size=moved.shape[-2:], mode="bicubic")
    level = torch.from_numpy(rng.uniform(1.3, 2.0, (len(chosen), 1, 1, 1)).astype(np.float32))
    moved[torch.from_numpy(chosen)] *= ((level - fine) * 4).clamp(0, 1)
    return moved


@dataclass(frozen=True, slots=True)
class Scanner:
    """Ranges of `scan`: how a digit is cut out, printed and read."""

    height_px: tuple[int, int] = (8, 120)  # of the digit, log-uniform
    margin_frac: tuple[float, float] = (0.0, 0.4)  # of the digit's height
    clip_prob: float = 0.1
    clip_frac: float = 0.1  # at most this share is cut off one side
    neighbour_prob: float = 0.12
    coarse_prob: float = 0.0  # scanned at few pixels, then enlarged, as old data sets are
    coarse_px: tuple[int, int] = (7, 18)  # height of the digit at that scan
    light_on_dark_prob: float = 0.25
    severity: tuple[float, float] = (0.5, 3.3)  # of each corruption that happens
    num_corruptions: tuple[int, int] = (0, 3)


def scan(
    canvas: Crop, scanner: Scanner, rng: np.random.Generator, *, neighbour: Crop | None = None
) -> NDArray[np.uint8]:
    """Cut a warped digit out, put it on paper and scan it.

    Args:
        canvas: (CANVAS_PX, CANVAS_PX) float32, ink bright, from `warp`.
        scanner: ranges.
        rng: source of randomness.
        neighbour: another canvas; with `scanner.neighbour_prob` part of it is seen at one side.

    Returns:
        (H, W) uint8 crop of either polarity.
    """
    ink = _cut(canvas, scanner, rng, neighbour=neighbour)
    crop = _paper(ink, rng)
    num_corruptions = int(rng.integers(scanner.num_corruptions[0], scanner.num_corruptions[1] + 1))
    for name in rng.choice(tuple(CORRUPTIONS), num_corruptions, replace=False):
        crop = CORRUPTIONS[str(name)](crop, float(rng.uniform(*scanner.severity)), rng)
    return _digitise(crop, rng, light_on_dark_prob=scanner.light_on_dark_prob)


def corrupt(
    ink: NDArray[np.uint8], name: str, severity: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """One crop of the robustness suite: a plain 40 px scan with one corruption.

    Args:
        ink: (28, 28) uint8, ink bright.
        name: one of `CORRUPTIONS`.
        severity: 1 to 5.
        rng: source of randomness.

    Returns:
        (H, W) uint8 crop, dark ink on light paper.
    """
    canvas = warp(ink[None], geometry(0), rng)[0]
    plain = Scanner(height_px=(28, 56), margin_frac=(0.1, 0.3), clip_prob=0)
    crop = _paper(_cut(canvas, plain, rng), rng)
    return _digitise(CORRUPTIONS[name](crop, severity, rng), rng, light_on_dark_prob=0)


def extent(canvas: Crop, *, axis: int) -> tuple[int, int]:
    """First and one-past-last row (axis=1) or column (axis=0) with ink."""
    inked = np.flatnonzero(canvas.max(axis=axis) > 0.3)
    if not len(inked):
        middle = CANVAS_PX // 2
        return middle - 4, middle + 4
    return int(inked[0]), int(inked[-1]) + 1


def _beside(canvas: Crop, neighbour: Crop, rng: np.random.Generator) -> tuple[Crop, int, int]:
    """Show a sliver of the next digit.

    Returns:
        the canvas, the side (2 left, 3 right), and the margin in canvas px at which the crop's
        edge must cut so that only the sliver is seen.
    """
    left, right = extent(canvas, axis=0)
    other_left, other_right = extent(neighbour, axis=0)
    gap = int(rng.integers(2, 7))
    width = int(rng.integers(2, 8))
    shifted = np.zeros_like(canvas)
    if rng.random() < 0.5:
        width = max(0, min(width, canvas.shape[1] - right - gap, other_right - other_left))
        shifted[:, right + gap : right + gap + width] = neighbour[:, other_left:][:, :width]
        return np.maximum(canvas, shifted), 3, gap + width
    width = max(0, min(width, left - gap, other_right - other_left))
    if width:
        shifted[:, left - gap - width : left - gap] = neighbour[:, :other_right][:, -width:]
    return np.maximum(canvas, shifted), 2, gap + width


def _cut(
    canvas: Crop, scanner: Scanner, rng: np.random.Generator, *, neighbour: Crop | None = None
) -> Crop:
    """Cut the digit out with margins (or clipped) and resample it to the scanner's size."""
    top, bottom = extent(canvas, axis=1)
    left, right = extent(canvas, axis=0)
    height = bottom - top
    margins = rng.uniform(*scanner.margin_frac, 4) * height
    if rng.random() < 0.35:
        margins *= 0.1  # tight crops are common in postal data
    if rng.random() < scanner.clip_prob:
        side = int(rng.integers(4))
        span = height if side < 2 else right - left
        margins[side] = -rng.uniform(0, scanner.clip_frac) * span
    if neighbour is not None and rng.random() < scanner.neighbour_prob:
        canvas, side, margin = _beside(canvas, neighbour, rng)
        margins[side] = margin
    box = (
        max(0.0, left - margins[2]),
        max(0.0, top - margins[0]),
        min(float(canvas.shape[1]), right + margins[3]),
        min(float(canvas.shape[0]), bottom + margins[1]),
    )
    digit_px = np.exp(rng.uniform(*np.log(scanner.height_px)))
    scale = digit_px / height
    size = (max(4, round((box[2] - box[0]) * scale)), max(4, round((box[3] - box[1]) * scale)))
    how = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.BOX)
    resized = Image.fromarray(canvas).resize(size, how[int(rng.integers(3))], box=box)
    if rng.random() < scanner.coarse_prob:
        shrink = min(1.0, rng.uniform(*scanner.coarse_px) / digit_px)
        small = (max(4, round(size[0] * shrink)), max(4, round(size[1] * shrink)))
        resized = resized.resize(small, Image.Resampling.BOX)
        resized = resized.resize(size, how[int(rng.integers(2))])
    cut: Crop = np.clip(np.asarray(resized, dtype=np.float32), 0, 1)
    return cut


def _paper(ink: Crop, rng: np.random.Generator) -> Crop:
    """Dark ink on paper: grey levels of envelopes and pens."""
    paper = 1 - 0.45 * rng.random() ** 2
    darkness = rng.uniform(0, 0.35)
    return (paper - (paper - min(darkness, paper - 0.35)) * ink).astype(np.float32)


def _digitise(
    crop: Crop, rng: np.random.Generator, *, light_on_dark_prob: float
) -> NDArray[np.uint8]:
    if rng.random() < light_on_dark_prob:
        crop = 1 - crop
    grey: NDArray[np.uint8] = np.rint(np.clip(crop, 0, 1) * 255).astype(np.uint8)
    return grey


# The twelve corruptions: (crop, severity 0-5, rng) -> crop of the same shape, dark ink on paper.


def _image(crop: Crop) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(crop, 0, 1) * 255).astype(np.uint8))


def _grey(image: Image.Image) -> Crop:
    return _crop(np.asarray(image) / 255)


def _crop(grey: NDArray[np.floating]) -> Crop:
    crop: Crop = grey.astype(np.float32)
    return crop


def _blur(crop: Crop, severity: float, rng: np.random.Generator) -> Crop:
    radius_px = max(0.25, 0.012 * severity * min(len(crop), 90)) * rng.uniform(0.7, 1.2)
    return _grey(_image(crop).filter(ImageFilter.GaussianBlur(radius_px)))


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
    return _crop(crop * ramp)


def _stripes(crop: Crop, severity: float, rng: np.random.Generator) -> Crop:
    height, width = crop.shape
    period_px = rng.uniform(3, max(4.0, height / 3))
    angle = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
    rows, columns = np.arange(height)[:, None], np.arange(width)[None]
    phase = (rows * np.sin(angle) + columns * np.cos(angle)) / period_px + rng.random()
    wave = np.sin(2 * np.pi * phase)
    if rng.random() < 0.5:
        wave = np.sign(wave)
    return _crop(crop * (1 - 0.028 * severity * (1 + wave)))


def _jpeg(crop: Crop, severity: float, rng: np.random.Generator) -> Crop:
    quality = int(np.clip(70 - 13 * severity + rng.integers(-3, 4), 3, 95))
    packed = io.BytesIO()
    _image(crop).save(packed, "JPEG", quality=quality)
    return _grey(Image.open(packed))


def _lines(crop: Crop, severity: float, rng: np.random.Generator) -> Crop:
    """Form boxes and underlines near the edges, nearer and darker with severity."""
    height, width = crop.shape
    image = _image(crop)
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
    """A cancellation: wavy bars or arcs of a thin grey ink across the crop."""
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
    back = _grey(_image(back).filter(ImageFilter.GaussianBlur(max(0.5, 0.02 * height))))
    pale = (back - back.max()) * 0.11 * severity
    return _crop(crop + pale * (crop > 0.4))


def _low_resolution(crop: Crop, severity: float, rng: np.random.Generator) -> Crop:
    height, width = crop.shape
    small_px = max(7.0, 30 - 4.5 * severity + rng.uniform(-1, 1))
    scale = min(1.0, small_px / height)
    small = _image(crop).resize(
        (max(4, round(width * scale)), max(4, round(height * scale))), Image.Resampling.BOX
    )
    return _grey(small.resize((width, height), Image.Resampling.BILINEAR))


def _binary(crop: Crop, severity: float, rng: np.random.Generator) -> Crop:
    """A bilevel scan: threshold off centre, ragged by noise before it."""
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
