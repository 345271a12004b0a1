"""Ways to write a digit that MNIST's American writers hardly use: styles.

Each style changes MNIST digits of one label: it adds strokes (slash, bar, flag, loop), takes ink
away (open loops) or warps (narrow, thick). Pure. Knows nothing about scanning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from training.data.strokes import (
    SIDE_PX,
    Box,
    boxes,
    draw,
    first_ink,
    leftmost,
    loop_middle,
    stroke_width,
)

Digits: TypeAlias = NDArray[np.float32]  # (N, 28, 28) in [0, 1], ink bright
Draw: TypeAlias = Callable[[Digits, np.random.Generator], Digits]


@dataclass(frozen=True, slots=True)
class Style:
    """One way to write one digit."""

    label: int
    write: Draw


def write(
    images: NDArray[np.uint8], labels: NDArray[np.uint8], frac: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Write a share of the digits in one of the styles of their label, each as often.

    Args:
        images: (N, 28, 28) uint8, ink bright; not changed.
        labels: (N,); 3 and 5 have no style.
        frac: share of the digits of each label that has styles.
        rng: source of randomness.

    Returns:
        (N, 28, 28) uint8.
    """
    written = images.copy()
    chosen = rng.random(len(labels)) < frac
    pick = rng.random(len(labels))
    for label in sorted({style.label for style in STYLES.values()}):
        names = [name for name, style in STYLES.items() if style.label == label]
        kind = (pick * len(names)).astype(int)
        for number, name in enumerate(names):
            rows = np.flatnonzero(chosen & (labels == label) & (kind == number))
            if len(rows):
                written[rows] = write_all(images[rows], name, rng)
    return written


def write_all(images: NDArray[np.uint8], name: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Write every digit in one style; all must have the style's label."""
    styled = STYLES[name].write(images.astype(np.float32) / np.float32(255), rng)
    return np.rint(np.clip(styled, 0, 1) * 255).astype(np.uint8)


def _uniform(rng: np.random.Generator, low: float, high: float, num: int) -> NDArray[np.float64]:
    return rng.uniform(low, high, num)


def _add_line(
    digits: Digits,
    start: tuple[NDArray[np.float64], NDArray[np.float64]],
    end: tuple[NDArray[np.float64], NDArray[np.float64]],
    rng: np.random.Generator,
) -> Digits:
    """Add a straight stroke about as thick as the digit's own; x and y in px."""
    path = np.stack([np.stack(start, -1), np.stack(end, -1)], 1)
    width = stroke_width(digits) * _uniform(rng, 0.75, 1.1, len(digits))
    return np.maximum(digits, draw(path, width))


def _upstroke(digits: Digits, rng: np.random.Generator) -> Digits:
    """A 1 with a long upstroke: from the top of the stem down to the left."""
    return _flag(digits, (0.25, 0.6), rng)


def _flag(digits: Digits, drop_frac: tuple[float, float], rng: np.random.Generator) -> Digits:
    num, box = len(digits), boxes(digits)
    x, y = _stem_end(digits, box, top=True), box.top + 1.0
    drop = box.height * _uniform(rng, *drop_frac, num)
    slope = _uniform(rng, 0.45, 1.1, num)  # px to the left for each px down
    return _add_line(digits, (x, y), (np.maximum(1.0, x - drop * slope), y + drop), rng)


def _flag_and_foot(digits: Digits, rng: np.random.Generator) -> Digits:
    """A 1 as printed: a flag on top and a horizontal foot."""
    num, box = len(digits), boxes(digits)
    x, y = _stem_end(digits, box, top=False), box.bottom - 0.5
    left, right = (box.height * _uniform(rng, 0.15, 0.35, num) for _ in range(2))
    tilt = _uniform(rng, -0.06, 0.06, num) * box.height
    flagged = _flag(digits, (0.12, 0.4), rng)
    return _add_line(
        flagged,
        (np.maximum(1.0, x - left), y + tilt),
        (np.minimum(SIDE_PX - 2.0, x + right), y - tilt),
        rng,
    )


def _stem_end(digits: Digits, box: Box, *, top: bool) -> NDArray[np.float64]:
    """Mean column of the two rows of ink at one end, in px."""
    rows = np.arange(SIDE_PX)[None, :]
    near = rows <= box.top[:, None] + 1 if top else rows >= box.bottom[:, None] - 1
    weight = (digits * near[:, :, None]).sum(1)
    mean: NDArray[np.float64] = (weight * np.arange(SIDE_PX)).sum(1) / np.maximum(
        weight.sum(1), 1e-6
    )
    return mean


def _bar(digits: Digits, rng: np.random.Generator) -> Digits:
    """A crossed 7: a bar across the stem, a little above or below its middle."""
    return _cross(digits, (0.42, 0.62), rng)


def _cross(digits: Digits, place_frac: tuple[float, float], rng: np.random.Generator) -> Digits:
    num, box = len(digits), boxes(digits)
    y = box.top + box.height * _uniform(rng, *place_frac, num)
    near = np.abs(np.arange(SIDE_PX)[None] - y[:, None]) <= 1.5
    weight = (digits * near[:, :, None]).sum(1)
    x = (weight * np.arange(SIDE_PX)).sum(1) / np.maximum(weight.sum(1), 1e-6)
    reach = box.height * _uniform(rng, 0.15, 0.3, num)
    tilt = reach * _uniform(rng, -0.45, 0.2, num)
    return _add_line(digits, (x - reach, y - tilt), (x + reach, y + tilt), rng)


def _bar_and_serif(digits: Digits, rng: np.random.Generator) -> Digits:
    """A crossed 7 whose top stroke begins with a short stroke down."""
    num, box = len(digits), boxes(digits)
    x, y = leftmost(digits, box.top, box.top + 0.3 * box.height)
    down = box.height * _uniform(rng, 0.12, 0.25, num)
    end = (np.maximum(1.0, x + down * _uniform(rng, -0.35, 0.15, num)), y + down)
    return _cross(_add_line(digits, (x + 0.5, y), end, rng), (0.48, 0.65), rng)


def _slash(digits: Digits, rng: np.random.Generator) -> Digits:
    """A 0 with a slash from lower left to upper right; one in twelve leans the other way."""
    num, box = len(digits), boxes(digits)
    over = [_uniform(rng, -0.22, 0.14, num) for _ in range(4)]
    left = np.maximum(0.5, box.left - over[0] * box.width)
    right = np.minimum(SIDE_PX - 1.5, box.right + over[1] * box.width)
    bottom = np.minimum(SIDE_PX - 1.5, box.bottom + over[2] * box.height)
    top = np.maximum(0.5, box.top - over[3] * box.height)
    mirrored = rng.random(num) < 1 / 12
    return _add_line(
        digits,
        (np.where(mirrored, right, left), bottom),
        (np.where(mirrored, left, right), top),
        rng,
    )


def _foot_loop(digits: Digits, rng: np.random.Generator) -> Digits:
    """A 2 with a large loop at the lower left, where the stroke turns."""
    num, box = len(digits), boxes(digits)
    x, y = leftmost(digits, box.top + 0.6 * box.height, box.bottom)
    long = box.height * _uniform(rng, 0.14, 0.27, num)
    short = long * _uniform(rng, 0.5, 0.8, num)
    x = np.maximum(x + long * _uniform(rng, -0.2, 0.5, num), long + 1.5)
    y = np.minimum(y - short * _uniform(rng, 0.0, 0.5, num), SIDE_PX - 2.0 - short)
    tilt = _uniform(rng, -0.7, 0.1, num)
    turn = np.linspace(0, 2 * np.pi, 13)[None]
    across, up = long[:, None] * np.cos(turn), short[:, None] * np.sin(turn)
    path = np.stack(
        [
            x[:, None] + across * np.cos(tilt)[:, None] - up * np.sin(tilt)[:, None],
            y[:, None] + across * np.sin(tilt)[:, None] + up * np.cos(tilt)[:, None],
        ],
        -1,
    )
    width = stroke_width(digits) * _uniform(rng, 0.75, 1.0, num)
    inside = draw(np.stack([path[:, 0], path[:, 6]], 1), 1.4 * short)
    looped: Digits = np.maximum(digits * (1 - inside), draw(path, width))
    return looped


def _narrow(digits: Digits, rng: np.random.Generator) -> Digits:
    """An 8 that is squeezed to half or three quarters of its width."""
    squeeze = _uniform(rng, 0.5, 0.75, len(digits))
    narrow = _widen(digits, top=squeeze, bottom=squeeze)
    inked: Digits = np.minimum(narrow * np.float32(1.4), 1)  # the pen is as thick as before
    return inked


def _thick(digits: Digits, rng: np.random.Generator) -> Digits:
    """A small 0 of a thick pen: the hole is nearly closed, but there."""
    num = len(digits)
    ink = torch.from_numpy(digits)[:, None]
    once = functional.max_pool2d(ink, 3, 1, 1)
    twice = functional.max_pool2d(once, 3, 1, 1)
    amount = torch.from_numpy(_uniform(rng, 0.6, 1.7, num).astype(np.float32))[:, None, None, None]
    grown = torch.where(
        amount < 1, torch.lerp(ink, once, amount), torch.lerp(once, twice, amount - 1)
    )
    x, y = loop_middle(digits)
    hole = draw(
        np.stack([np.stack([x, y - 1], -1), np.stack([x, y + 1], -1)], 1),
        _uniform(rng, 1.2, 2.2, num),
    )
    crisp = np.clip(2 * grown[:, 0].numpy() - 0.5, 0, 1)  # growing softens the edges
    thick: Digits = np.minimum(crisp, np.maximum(digits, 1 - hole))
    return thick


def _open_six(digits: Digits, rng: np.random.Generator) -> Digits:
    """A 6 whose bowl is wide and does not come back to the stem."""
    num = len(digits)
    wide = _widen(digits, top=np.ones(num), bottom=_uniform(rng, 1.0, 1.35, num))
    return _open(wide, (50, 100), (0.11, 0.17), rng)


def _open_four(digits: Digits, rng: np.random.Generator) -> Digits:
    """A 4 whose arms do not meet: closed ones are opened at the top, all are spread."""
    num = len(digits)
    wide = _widen(digits, top=_uniform(rng, 1.0, 1.3, num), bottom=np.ones(num))
    return _open(wide, (75, 105), (0.11, 0.17), rng)


def _open_nine(digits: Digits, rng: np.random.Generator) -> Digits:
    """A 9 whose loop ends before it reaches the stem."""
    return _open(digits, (20, 55), (0.07, 0.11), rng)


def _open(
    digits: Digits,
    angle_deg: tuple[float, float],
    radius_frac: tuple[float, float],
    rng: np.random.Generator,
) -> Digits:
    """Take a round piece out of the loop's wall.

    Args:
        digits: digits with a loop; one without stays as it is.
        angle_deg: where, seen from the loop's middle; 0 is right, 90 is up.
        radius_frac: of the digit's height.
        rng: source of randomness.
    """
    num, box = len(digits), boxes(digits)
    middle = loop_middle(digits)
    angle = np.deg2rad(_uniform(rng, *angle_deg, num))
    toward = (np.cos(angle), -np.sin(angle))
    distance, found = first_ink(digits, middle, toward)
    distance = distance + stroke_width(digits) / 2
    x, y = middle[0] + toward[0] * distance, middle[1] + toward[1] * distance
    radius = box.height * _uniform(rng, *radius_frac, num) * found
    gap = draw(np.stack([np.stack([x, y], -1), np.stack([x, y], -1)], 1), 2 * radius)
    return np.where(found[:, None, None], digits * (1 - gap), digits)


def _widen(digits: Digits, *, top: NDArray[np.float64], bottom: NDArray[np.float64]) -> Digits:
    """Stretch each row about the middle column; the factor runs from top to bottom of the digit."""
    box = boxes(digits)
    along = (np.arange(SIDE_PX)[None] - box.top[:, None]) / np.maximum(box.height, 1)[:, None]
    along = np.clip(along, 0, 1)
    factor = top[:, None] * (1 - along) + bottom[:, None] * along
    axis = (2 * np.arange(SIDE_PX) + 1) / SIDE_PX - 1
    grid = np.empty((len(digits), SIDE_PX, SIDE_PX, 2), np.float32)
    grid[..., 0] = axis[None, None] / factor[:, :, None]
    grid[..., 1] = axis[None, :, None]
    moved = functional.grid_sample(
        torch.from_numpy(digits)[:, None], torch.from_numpy(grid), align_corners=False
    )
    wide: Digits = moved[:, 0].numpy()
    return wide


STYLES: Mapping[str, Style] = {
    "zero with a slash": Style(0, _slash),
    "thick zero": Style(0, _thick),
    "one with an upstroke": Style(1, _upstroke),
    "one with flag and foot": Style(1, _flag_and_foot),
    "two with a loop": Style(2, _foot_loop),
    "open four": Style(4, _open_four),
    "open six": Style(6, _open_six),
    "crossed seven": Style(7, _bar),
    "crossed seven with serif": Style(7, _bar_and_serif),
    "narrow eight": Style(8, _narrow),
    "open nine": Style(9, _open_nine),
}
