"""The single operations that damage is composed of (`training.data.damage`).

Pure: everything random comes from the generator passed in. Knows nothing about labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from training.data.corruptions import Crop, to_crop, to_image


@dataclass(frozen=True, slots=True)
class Sheet:
    """A crop with its grey levels and where its ink is."""

    crop: Crop
    paper: float
    pen: float
    box: tuple[int, int, int, int]  # top, bottom, left, right of the ink

    @classmethod
    def of(cls, crop: Crop) -> Sheet:
        """Measure a crop, dark ink on light paper."""
        paper, pen = float(np.quantile(crop, 0.9)), float(crop.min())
        inked = crop < (paper + pen) / 2
        rows, columns = np.flatnonzero(inked.any(1)), np.flatnonzero(inked.any(0))
        if not len(rows):
            return cls(crop, paper, pen, (0, crop.shape[0], 0, crop.shape[1]))
        box = (int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)
        return cls(crop, paper, pen, box)


def _cut(sheet: Sheet, rng: np.random.Generator) -> Crop:
    """The crop's edge runs through the digit."""
    rows, columns = _part(sheet, rng)
    return sheet.crop[rows, columns]


def _hide(sheet: Sheet, rng: np.random.Generator) -> Crop:
    """A part is blank."""
    rows, columns = _part(sheet, rng)
    hidden = np.full_like(sheet.crop, sheet.paper)
    hidden[rows, columns] = sheet.crop[rows, columns]
    return hidden


def _part(sheet: Sheet, rng: np.random.Generator) -> tuple[slice, slice]:
    """35 to 75 % of the ink's height or width."""
    top, bottom, left, right = sheet.box
    axis = int(rng.integers(2))
    first, last = (top, bottom) if axis == 0 else (left, right)
    keep = rng.uniform(0.35, 0.75) * (last - first)
    whole = slice(None)
    part = slice(0, max(4, round(first + keep)))
    if rng.random() < 0.5:
        part = slice(min(round(last - keep), sheet.crop.shape[axis] - 4), None)
    return (part, whole) if axis == 0 else (whole, part)


def _zoom(sheet: Sheet, rng: np.random.Generator) -> Crop:
    """The crop is too small, or lies beside the digit."""
    top, bottom, left, right = sheet.box
    size = rng.uniform(0.4, 0.8, 2) * (bottom - top, right - left)
    y = top + rng.uniform(0, 1) * (bottom - top - size[0])
    x = left + rng.uniform(0, 1) * (right - left - size[1])
    y, x = max(0, int(y)), max(0, int(x))
    return sheet.crop[y : y + max(4, int(size[0])), x : x + max(4, int(size[1]))]


def _bars(sheet: Sheet, rng: np.random.Generator) -> Crop:
    """One to three straight bars across the crop: paper, ink or grey."""
    return _draw(sheet, rng, _draw_bar, int(rng.integers(1, 4)))


def _blots(sheet: Sheet, rng: np.random.Generator) -> Crop:
    return _draw(sheet, rng, _draw_blot, int(rng.integers(1, 4)))


def _scribble(sheet: Sheet, rng: np.random.Generator) -> Crop:
    return _draw(sheet, rng, _draw_stroke, int(rng.integers(1, 5)))


def _draw(
    sheet: Sheet,
    rng: np.random.Generator,
    draw_one: Callable[[ImageDraw.ImageDraw, Sheet, int, np.random.Generator], None],
    num: int,
) -> Crop:
    image = to_image(sheet.crop)
    draw = ImageDraw.Draw(image)
    for _ in range(num):
        kind = int(rng.integers(3))
        level = (sheet.paper, sheet.pen, rng.uniform(sheet.pen, sheet.paper))[kind]
        draw_one(draw, sheet, int(255 * min(max(level, 0.0), 1.0)), rng)
    return to_crop(np.asarray(image) / 255)


def _place(sheet: Sheet, rng: np.random.Generator) -> tuple[float, float]:
    """x, y of a point on or near the ink."""
    top, bottom, left, right = sheet.box
    return left + rng.uniform(0.1, 0.9) * (right - left), top + rng.uniform(0.1, 0.9) * (
        bottom - top
    )


def _draw_bar(
    draw: ImageDraw.ImageDraw, sheet: Sheet, level: int, rng: np.random.Generator
) -> None:
    x, y = _place(sheet, rng)
    angle = float(rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)]))
    reach = 2 * max(sheet.crop.shape)
    dx, dy = reach * np.cos(angle), reach * np.sin(angle)
    thick_px = max(1, round(rng.uniform(0.04, 0.3) * (sheet.box[1] - sheet.box[0])))
    draw.line((x - dx, y - dy, x + dx, y + dy), fill=level, width=thick_px)


def _draw_blot(
    draw: ImageDraw.ImageDraw, sheet: Sheet, level: int, rng: np.random.Generator
) -> None:
    x, y = _place(sheet, rng)
    size = rng.uniform(0.08, 0.35) * max(sheet.box[1] - sheet.box[0], sheet.box[3] - sheet.box[2])
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(4, 12))))
    radii = size * rng.uniform(0.5, 1.3, len(angles))
    points = [
        (float(x + r * np.cos(a)), float(y + r * np.sin(a)))
        for a, r in zip(angles, radii, strict=True)
    ]
    draw.polygon(points, fill=level)


def _draw_stroke(
    draw: ImageDraw.ImageDraw, sheet: Sheet, level: int, rng: np.random.Generator
) -> None:
    height, width = sheet.crop.shape
    start = np.array(_place(sheet, rng))
    steps = rng.normal(0, 0.18 * max(height, width), (int(rng.integers(1, 5)), 2))
    points = np.vstack([start, start + np.cumsum(steps, axis=0)])
    thick_px = max(1, round(rng.uniform(0.05, 0.16) * height))
    draw.line([(float(x), float(y)) for x, y in points], fill=level, width=thick_px, joint="curve")


def _rules(sheet: Sheet, rng: np.random.Generator) -> Crop:
    """Bands at equal distances, in paper or ink: dashes, grids, dead lines of a print head."""
    height, width = sheet.crop.shape
    period_px = max(3.0, rng.uniform(0.08, 0.4) * max(height, width))
    share = rng.uniform(0.15, 0.55)
    level = sheet.paper if rng.random() < 0.6 else rng.uniform(sheet.pen, sheet.paper)
    out = sheet.crop.copy()
    for axis in rng.permutation(2)[: 1 + int(rng.random() < 0.3)]:
        phase = np.arange(out.shape[axis]) / period_px + rng.random()
        banded = phase % 1 < share
        out[(banded, slice(None)) if axis == 0 else (slice(None), banded)] = level
    return out


def _turn(sheet: Sheet, rng: np.random.Generator) -> Crop:
    angle = float(rng.choice([90, 180, 270, rng.uniform(35, 325)]))
    image = to_image(sheet.crop).rotate(
        angle, Image.Resampling.BILINEAR, expand=True, fillcolor=int(255 * min(sheet.paper, 1))
    )
    return to_crop(np.asarray(image) / 255)


def _mirror(sheet: Sheet, rng: np.random.Generator) -> Crop:
    return sheet.crop[:, ::-1] if rng.random() < 0.6 else sheet.crop[::-1]


def _shear(sheet: Sheet, rng: np.random.Generator) -> Crop:
    height, width = sheet.crop.shape
    slant = rng.uniform(0.6, 1.4) * rng.choice([-1, 1])
    grown = round(abs(slant) * height)
    shift = -grown if slant > 0 else 0
    image = to_image(sheet.crop).transform(
        (width + grown, height),
        Image.Transform.AFFINE,
        (1, slant, shift, 0, 1, 0),
        Image.Resampling.BILINEAR,
        fillcolor=int(255 * min(sheet.paper, 1)),
    )
    return to_crop(np.asarray(image) / 255)


def _stretch(sheet: Sheet, rng: np.random.Generator) -> Crop:
    height, width = sheet.crop.shape
    factor = float(np.exp(rng.uniform(np.log(2), np.log(4))))
    size = (width, max(4, round(height / factor)))
    if rng.random() < 0.5:
        size = (max(4, round(width / factor)), height)
    return to_crop(np.asarray(to_image(sheet.crop).resize(size, Image.Resampling.BOX)) / 255)


def _shift_blocks(sheet: Sheet, rng: np.random.Generator) -> Crop:
    """Bands of rows or columns are shifted against each other, or change places."""
    axis = int(rng.integers(2))
    num = int(rng.integers(2, 6))
    bands = np.array_split(sheet.crop, num, axis=axis)
    if rng.random() < 0.4:
        bands = [bands[int(place)] for place in rng.permutation(num)]
        return np.concatenate(bands, axis=axis)
    reach = 0.35 * sheet.crop.shape[1 - axis]
    moved = [np.roll(band, int(rng.uniform(-reach, reach)), axis=1 - axis) for band in bands]
    return np.concatenate(moved, axis=axis)


def _blur(sheet: Sheet, rng: np.random.Generator) -> Crop:
    """Out of focus, or moved while it was exposed."""
    if rng.random() < 0.5:
        radius = rng.uniform(0.03, 0.12) * max(sheet.crop.shape)
        blurred = to_image(sheet.crop).filter(ImageFilter.GaussianBlur(radius))
        return to_crop(np.asarray(blurred) / 255)
    axis = int(rng.integers(2))
    length = max(2, round(rng.uniform(0.1, 0.45) * sheet.crop.shape[axis]))
    pad = [(0, 0), (0, 0)]
    pad[axis] = (length // 2, length - 1 - length // 2)
    sums = np.cumsum(np.pad(sheet.crop, pad, mode="edge"), axis=axis, dtype=np.float64)
    first = sums.take(range(length - 1, sums.shape[axis]), axis)
    before = sums.take(range(sums.shape[axis] - length), axis)
    start = np.zeros_like(first.take([0], axis))
    return to_crop((first - np.concatenate([start, before], axis)) / length)


def _grain(sheet: Sheet, rng: np.random.Generator) -> Crop:
    """Coarse or fine noise as strong as the ink."""
    height, width = sheet.crop.shape
    size_px = float(np.exp(rng.uniform(0, np.log(max(2.0, height / 4)))))
    field = rng.standard_normal((int(height / size_px) + 2, int(width / size_px) + 2))
    rows, columns = np.arange(height) / size_px, np.arange(width) / size_px
    noise = field[rows.astype(int)[:, None], columns.astype(int)[None]]
    strength = rng.uniform(0.15, 0.6) * (sheet.paper - sheet.pen)
    return to_crop(sheet.crop + strength * noise)


def _spread(sheet: Sheet, rng: np.random.Generator) -> Crop:
    """Strokes swell until they close, or thin until they break."""
    size = max(3, round(rng.uniform(0.05, 0.16) * (sheet.box[1] - sheet.box[0]))) | 1
    kind = ImageFilter.MinFilter if rng.random() < 0.5 else ImageFilter.MaxFilter
    return to_crop(np.asarray(to_image(sheet.crop).filter(kind(size))) / 255)


def _invert(sheet: Sheet, rng: np.random.Generator) -> Crop:
    """A half or a band is negative."""
    axis = int(rng.integers(2))
    length = sheet.crop.shape[axis]
    first = int(rng.uniform(0, 0.6) * length)
    last = first + max(2, int(rng.uniform(0.2, 0.7) * length))
    chosen = (slice(first, last), slice(None)) if axis == 0 else (slice(None), slice(first, last))
    out = sheet.crop.copy()
    out[chosen] = sheet.paper + sheet.pen - out[chosen]
    return out


def _few_pixels(sheet: Sheet, rng: np.random.Generator) -> Crop:
    height, width = sheet.crop.shape
    share = rng.uniform(4, 8) / max(sheet.box[1] - sheet.box[0], 8)
    small = to_image(sheet.crop).resize(
        (max(3, round(width * share)), max(3, round(height * share))), Image.Resampling.BOX
    )
    how = (Image.Resampling.NEAREST, Image.Resampling.BILINEAR)[int(rng.integers(2))]
    return to_crop(np.asarray(small.resize((width, height), how)) / 255)


def _shadow(sheet: Sheet, rng: np.random.Generator) -> Crop:
    """A dark or washed-out side, with a hard or a soft edge."""
    axis = int(rng.integers(2))
    places = np.linspace(-1, 1, sheet.crop.shape[axis]) * rng.choice([-1, 1])
    edge = 1 / (1 + np.exp(-(places - rng.uniform(-0.7, 0.7)) * rng.uniform(2, 40)))
    edge = edge[:, None] if axis == 0 else edge[None]
    target = rng.uniform(0, 0.5) if rng.random() < 0.6 else 1.0
    return to_crop(sheet.crop + (target - sheet.crop) * edge * rng.uniform(0.5, 0.95))


OPERATIONS: Mapping[str, Callable[[Sheet, np.random.Generator], Crop]] = {
    "cut": _cut,
    "hide": _hide,
    "zoom": _zoom,
    "bars": _bars,
    "blots": _blots,
    "scribble": _scribble,
    "rules": _rules,
    "turn": _turn,
    "mirror": _mirror,
    "shear": _shear,
    "stretch": _stretch,
    "shift_blocks": _shift_blocks,
    "blur": _blur,
    "grain": _grain,
    "spread": _spread,
    "invert": _invert,
    "few_pixels": _few_pixels,
    "shadow": _shadow,
}
