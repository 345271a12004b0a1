"""Stage one of the scanner simulator: move, bend, thin, thicken and break the strokes of digits.

Pure: everything random comes from the generator passed in. Works on a whole batch. Knows nothing
about paper or scanners.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

CANVAS_PX = 72
COARSE_PX = 18  # side of the sampling grid before interpolation; an affine map loses nothing by it
FRAME_PX = 40  # the 20 px digit box of MNIST on the canvas, drawn at twice the size
MAX_SEVERITY = 5


@dataclass(frozen=True, slots=True)
class Geometry:
    """Ranges of `warp`; each is the half-width around no change."""

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


def warp(ink: NDArray[np.uint8], bounds: Geometry, rng: np.random.Generator) -> NDArray[np.float32]:
    """Move, bend, thin, thicken and break digits.

    Args:
        ink: (N, S, S) uint8, ink bright, MNIST's frame at any resolution S.
        bounds: ranges of the changes.
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
    canvases: NDArray[np.float32] = moved[:, 0].numpy()
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
    """Blend each digit with its dilated or eroded self, so that the change is continuous."""
    amount = rng.uniform(-1, 1, len(moved)) * bounds.stroke_px / 2
    amount[amount < 0] *= 0.75  # thin strokes vanish before thick strokes fill up
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
    """Fade the ink in blobs of about a stroke's width."""
    chosen = np.flatnonzero(rng.random(len(moved)) < bounds.broken_prob)
    if not len(chosen):
        return moved
    coarse = rng.normal(0, 1, (len(chosen), 1, 14, 14)).astype(np.float32)
    fine = functional.interpolate(torch.from_numpy(coarse), size=moved.shape[-2:], mode="bicubic")
    level = torch.from_numpy(rng.uniform(1.3, 2.0, (len(chosen), 1, 1, 1)).astype(np.float32))
    moved[torch.from_numpy(chosen)] *= ((level - fine) * 4).clamp(0, 1)
    return moved
