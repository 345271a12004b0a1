"""Made-up fields: strings of real digits on paper, with what forms and scanners add.

Pure. Draws no digit itself: takes them from a labelled set, neighbours in the set beside each
other, because MNIST keeps a writer's digits together.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from training.data.datasets import LabelledImages

FORMS = ("none", "underline", "dotted", "frame", "cells")
SOURCE_PX, INK_PX = 28, 20  # of a digit in MNIST's frame
TOUCH_FRAC = 0.2  # of the pairs, where nothing else is asked


@dataclass(frozen=True, slots=True)
class Writing:
    """How one field looks. Lengths are in digit heights."""

    height_px: float  # of a digit
    slope: float  # down for each px along
    slant: float  # to the right for each px up
    pen: float  # -0.2 thin to 0.25 bold
    spacing: float  # mean gap
    form: str
    paper: int
    ink: int
    noise: float  # grey levels
    num_specks: int
    is_plain: bool  # dark ink on light paper


@dataclass(frozen=True, slots=True)
class DrawnField:
    """One field, its code, and each digit alone: the perfect cut."""

    field: NDArray[np.uint8]  # (H, W)
    code: str
    crops: tuple[NDArray[np.uint8], ...]
    boxes: tuple[tuple[int, int, int, int], ...]  # x, y, width, height of each digit
    num_touching: int  # pairs
    form: str


def draw_writing(rng: np.random.Generator, forms: tuple[str, ...] = FORMS) -> Writing:
    """Choose a field's look."""
    paper = int(rng.integers(190, 256))
    return Writing(
        height_px=float(np.exp(rng.uniform(np.log(24), np.log(110)))),
        slope=float(np.clip(rng.normal(0, 0.03), -0.08, 0.08)),
        slant=float(np.clip(rng.normal(0.05, 0.12), -0.25, 0.4)),
        pen=float(rng.uniform(-0.15, 0.2)),
        spacing=float(rng.uniform(0.05, 0.35)),
        form=str(rng.choice(forms, p=_chances(forms))),
        paper=paper,
        ink=int(rng.integers(0, paper - 90)),
        noise=float(rng.choice([0.0, 2.0, 5.0, 9.0])),
        num_specks=int(rng.choice([0, 0, 2, 8])),
        is_plain=bool(rng.random() < 0.9),
    )


def _chances(forms: tuple[str, ...]) -> NDArray[np.float64]:
    chances = np.array([3.0 if form == "none" else 1.0 for form in forms])
    normed: NDArray[np.float64] = chances / chances.sum()
    return normed


def draw_field(
    digits: LabelledImages,
    rows: NDArray[np.intp],
    rng: np.random.Generator,
    *,
    writing: Writing | None = None,
    num_touching: int | None = None,
    has_dash: bool = False,
) -> DrawnField:
    """Write the digits of some rows side by side.

    Args:
        digits: images with ink bright.
        rows: of the digits, in order.
        rng: for everything that is drawn.
        writing: how it looks; None draws it.
        num_touching: pairs that touch; None draws each with a chance of 0.2.
        has_dash: a dash after the fifth digit.
    """
    look = draw_writing(rng) if writing is None else writing
    touches = _choose_touching(len(rows) - 1, num_touching, rng)
    if look.form == "cells":
        touches[:] = False
    glyphs = [_glyph(digits.images[row], look, rng) for row in rows]
    places = _place(glyphs, touches, look, rng, has_dash=has_dash)
    margin = [round(look.height_px * m) for m in rng.uniform(0.08, 0.6, 4)]
    height = max(y + glyph.shape[0] for glyph, (_, y) in zip(glyphs, places, strict=True))
    width = max(x + glyph.shape[1] for glyph, (x, _) in zip(glyphs, places, strict=True))
    shape = (height + margin[0] + margin[1], width + margin[2] + margin[3])
    layer = np.zeros(shape, np.float32)
    alone = []
    for glyph, (x, y) in zip(glyphs, places, strict=True):
        window = np.s_[
            y + margin[0] : y + margin[0] + glyph.shape[0],
            x + margin[2] : x + margin[2] + glyph.shape[1],
        ]
        layer[window] = np.maximum(layer[window], glyph)
        alone.append(_scan(np.pad(glyph, round(look.height_px * 0.15)), look, rng))
    boxes = [
        (x + margin[2], y + margin[0], g.shape[1], g.shape[0])
        for g, (x, y) in zip(glyphs, places, strict=True)
    ]
    if has_dash and len(boxes) > 5:
        layer = np.maximum(layer, _dash(shape, boxes, look))
    layer = np.maximum(layer, _form(shape, boxes, look, rng))
    layer = np.maximum(layer, _specks(shape, look, rng))
    return DrawnField(
        field=_scan(layer, look, rng),
        code="".join(str(digits.labels[row]) for row in rows),
        crops=tuple(alone),
        boxes=tuple(boxes),
        num_touching=int(touches.sum()),
        form=look.form,
    )


def _choose_touching(
    num_pairs: int, num_touching: int | None, rng: np.random.Generator
) -> NDArray[np.bool_]:
    if num_touching is None:
        drawn: NDArray[np.bool_] = rng.random(num_pairs) < TOUCH_FRAC
        return drawn
    touches = np.zeros(num_pairs, np.bool_)
    touches[rng.choice(num_pairs, num_touching, replace=False)] = True
    return touches


def _glyph(
    image: NDArray[np.uint8], look: Writing, rng: np.random.Generator
) -> NDArray[np.float32]:
    """One digit at its size, slanted and turned, cut to its ink; (H, W) in [0, 1]."""
    scale = look.height_px / INK_PX * float(np.clip(rng.normal(1, 0.06), 0.85, 1.18))
    slant = look.slant + float(rng.normal(0, 0.04))
    side = int(SOURCE_PX * scale * 1.7)
    turn = np.array([[1.0, -slant], [look.slope, 1.0]]) * scale  # source (x, y) -> target
    back = np.linalg.inv(turn)
    middle = np.array([side / 2, side / 2])
    offset = np.array([SOURCE_PX / 2, SOURCE_PX / 2]) - back @ middle
    picture = Image.fromarray(image).transform(
        (side, side),
        Image.Transform.AFFINE,
        (back[0, 0], back[0, 1], offset[0], back[1, 0], back[1, 1], offset[1]),
        Image.Resampling.BICUBIC,
    )
    ink = np.asarray(picture, dtype=np.float32) / np.float32(255)
    crisp: NDArray[np.float32] = np.clip(
        (ink - 0.45 + look.pen) * min(1.5 * scale, 4.0) + 0.5, 0, 1
    )
    ys, xs = np.nonzero(crisp > 0.5)
    if not len(ys):
        crisp, (ys, xs) = ink, np.nonzero(ink > 0.3)
    return crisp[max(ys.min() - 1, 0) : ys.max() + 2, max(xs.min() - 1, 0) : xs.max() + 2]


def _place(
    glyphs: list[NDArray[np.float32]],
    touches: NDArray[np.bool_],
    look: Writing,
    rng: np.random.Generator,
    *,
    has_dash: bool,
) -> list[tuple[int, int]]:
    """Left and top of each glyph: on a sloping base line, as close as asked."""
    tall = look.height_px
    middles = [rng.normal(0, 0.03) * tall for _ in glyphs]
    places: list[tuple[int, int]] = []
    pitch = round(tall * rng.uniform(1.05, 1.4)) if look.form == "cells" else 0
    for number, glyph in enumerate(glyphs):
        if not number:
            x = 0
        elif pitch:
            jitter = rng.normal(0, 0.04) * tall
            x = round(number * pitch + glyphs[0].shape[1] / 2 - glyph.shape[1] / 2 + jitter)
        else:
            x = _next_x(glyphs, places, middles, touches[number - 1], look, rng)
            if has_dash and number == 5:
                x += round(0.7 * tall)
        y = round(2 * tall + middles[number] + look.slope * (x + glyph.shape[1] / 2))
        places.append((x, y - glyph.shape[0] // 2))
    first_x, first_y = min(x for x, _ in places), min(y for _, y in places)
    return [(x - first_x, y - first_y) for x, y in places]


def _next_x(
    glyphs: list[NDArray[np.float32]],
    places: list[tuple[int, int]],
    middles: list[float],
    touching: bool,  # noqa: FBT001
    look: Writing,
    rng: np.random.Generator,
) -> int:
    """Left of the next glyph."""
    number = len(places)
    left, right = glyphs[number - 1] > 0.5, glyphs[number] > 0.5
    x, _ = places[-1]
    down = round(middles[number] - middles[number - 1]) - right.shape[0] // 2 + left.shape[0] // 2
    ends = np.where(left.any(axis=1), left.shape[1] - np.argmax(left[:, ::-1], axis=1), -10_000)
    starts = np.where(right.any(axis=1), np.argmax(right, axis=1), 10_000)
    rows = np.arange(len(ends))
    inside = (rows - down >= 0) & (rows - down < len(starts))
    near = ends[inside] - starts[rows[inside] - down]
    touch: int = x + (int(near.max()) if len(near) and near.max() > -5000 else left.shape[1])
    if touching:
        return touch - 1 - round(float(look.height_px * rng.uniform(0, 0.06)))
    gap = float(look.height_px * (look.spacing + rng.normal(0, 0.05)))
    least: int = touch + max(2, round(0.05 * look.height_px))
    wished: int = round(x + left.shape[1] + gap)
    return max(wished, least)


def _form(
    shape: tuple[int, int],
    boxes: list[tuple[int, int, int, int]],
    look: Writing,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """What is printed around the digits."""
    picture = Image.new("L", (shape[1], shape[0]), 0)
    pen = ImageDraw.Draw(picture)
    thick = max(1, round(look.height_px * rng.uniform(0.02, 0.05)))
    grey = int(rng.integers(140, 256))
    tilt = float(np.clip(look.slope + rng.normal(0, 0.005), -0.08, 0.08))
    top = min(y for _, y, _, _ in boxes) - look.height_px * rng.uniform(0.02, 0.15)
    bottom = max(y + h for _, y, _, h in boxes) + look.height_px * rng.uniform(-0.04, 0.15)
    middle = shape[1] / 2

    def line(x0: float, y0: float, x1: float, y1: float) -> None:
        pen.line((x0, y0, x1, y1), fill=grey, width=thick)

    def at(x: float, y: float) -> float:
        return y + tilt * (x - middle)

    if look.form == "underline":
        line(0, at(0, bottom), shape[1], at(shape[1], bottom))
    elif look.form == "dotted":
        step = max(3, 3 * thick)
        for x in range(0, shape[1], step):
            y = round(at(x, bottom))
            pen.rectangle((x, y, x + thick - 1, y + thick - 1), fill=grey)
    elif look.form in ("frame", "cells"):
        left = boxes[0][0] - look.height_px * 0.2
        right = boxes[-1][0] + boxes[-1][2] + look.height_px * 0.2
        line(left, at(left, bottom), right, at(right, bottom))
        line(left, at(left, top), right, at(right, top))
        edges = [left, right]
        if look.form == "cells":
            centres = [x + w / 2 for x, _, w, _ in boxes]
            edges += [(a + b) / 2 for a, b in pairwise(centres)]
        for edge in edges:
            line(edge, at(edge, top), edge - tilt * (bottom - top), at(edge, bottom))
    drawn: NDArray[np.float32] = np.asarray(picture, dtype=np.float32) / np.float32(255)
    return drawn


def _dash(
    shape: tuple[int, int], boxes: list[tuple[int, int, int, int]], look: Writing
) -> NDArray[np.float32]:
    layer = np.zeros(shape, np.float32)
    x0 = boxes[4][0] + boxes[4][2] + round(0.2 * look.height_px)
    x1 = max(x0 + 2, boxes[5][0] - round(0.2 * look.height_px))
    y = boxes[4][1] + boxes[4][3] // 2
    layer[y : y + max(2, round(0.08 * look.height_px)), x0:x1] = 1.0
    return layer


def _specks(shape: tuple[int, int], look: Writing, rng: np.random.Generator) -> NDArray[np.float32]:
    layer = np.zeros(shape, np.float32)
    for _ in range(look.num_specks):
        side = max(1, round(look.height_px * rng.uniform(0.01, 0.06)))
        y, x = rng.integers(shape[0]), rng.integers(shape[1])
        layer[y : y + side, x : x + side] = rng.uniform(0.5, 1)
    return layer


def _scan(layer: NDArray[np.float32], look: Writing, rng: np.random.Generator) -> NDArray[np.uint8]:
    grey = look.paper + (look.ink - look.paper) * layer
    noisy = grey + rng.normal(0, 1, layer.shape) * look.noise
    field: NDArray[np.uint8] = np.clip(noisy, 0, 255).astype(np.uint8)
    return field if look.is_plain else 255 - field
