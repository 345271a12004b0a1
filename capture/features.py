"""Images, crops and probabilities -> the numbers whose drift is measured.

The 28x28 image shows the pen: ink mass, stroke width, slant. The crop as sent shows the scanner:
contrast, sharpness, grain, margin. The probabilities show what the model is unsure about.
Knows nothing about records, files or Evidently.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

IMAGE_FEATURES: Final = ("ink_mass", "stroke_width_px", "slant_deg", "grey_edge_share")
CROP_FEATURES: Final = (
    "sharpness",
    "contrast",
    "paper_grey",
    "paper_grain",
    "margin",
    "height_px",
)
SCORE_FEATURES: Final = ("entropy", "gap")

_INK_FLOOR = 0.1  # of full ink: below it a pixel of the image counts as paper
_INK_CEILING = 0.9
_TINY = 1e-6


def image_features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Describe the pen in N images as the model saw them.

    Args:
        images: (N, 28, 28) uint8, ink bright.

    Returns:
        (N, 4) float32 in the order of `IMAGE_FEATURES`: ink mass as a share of the frame; stroke
        width in px, twice the ink's area over its outline; slant in degrees, positive when the
        top leans right; share of ink pixels that are neither paper nor full ink.
    """
    ink = images.astype(np.float32) / 255.0
    area = ink.sum(axis=(1, 2))
    outline = np.hypot(*_gradients(ink)).sum(axis=(1, 2))
    is_ink = ink > _INK_FLOOR
    num_ink = is_ink.sum(axis=(1, 2))
    num_grey = (is_ink & (ink < _INK_CEILING)).sum(axis=(1, 2))
    columns = (
        area / ink[0].size if len(ink) else area,
        2 * area / np.maximum(outline, _TINY),
        _slant_deg(ink, area),
        num_grey / np.maximum(num_ink, 1),
    )
    return np.stack(columns, axis=1).astype(np.float32)


def _slant_deg(ink: NDArray[np.float32], area: NDArray[np.float32]) -> NDArray[np.float32]:
    """Angle of the ink's vertical axis from its second moments."""
    across = np.arange(ink.shape[2], dtype=np.float32)
    down = np.arange(ink.shape[1], dtype=np.float32)
    mass = np.maximum(area, _TINY)[:, None]
    x = across - (ink.sum(axis=1) * across).sum(axis=1, keepdims=True) / mass
    y = down - (ink.sum(axis=2) * down).sum(axis=1, keepdims=True) / mass
    covariance = np.einsum("nij,ni,nj->n", ink, y, x)
    variance = np.einsum("nij,ni->n", ink, y * y)
    slant: NDArray[np.float32] = np.degrees(
        np.arctan2(-covariance, np.maximum(variance, _TINY))
    ).astype(np.float32)
    return slant


def crop_features(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Describe the scanner in one crop as it was sent.

    Args:
        crop: (H, W) uint8, dark ink on light paper or the reverse.

    Returns:
        (6,) float32 in the order of `CROP_FEATURES`: steepest edge as a share of the contrast;
        contrast between paper and ink, paper level and spread of the paper, all in grey levels
        over 255; mean empty border as a share of the side; height in px.
    """
    counts = np.bincount(crop.ravel(), minlength=256)
    low, high = _quantile(counts, 0.01), _quantile(counts, 0.99)
    middle = (low + high) / 2
    is_dark = crop < middle
    num_dark = int(is_dark.sum())
    ink_is_dark = num_dark <= crop.size - num_dark
    is_ink = is_dark if ink_is_dark else ~is_dark
    paper = crop[~is_ink]
    contrast = (high - low) / 255.0
    grey = crop.astype(np.float32) / 255.0
    steepest = max(float(np.abs(np.diff(grey, axis=axis)).max(initial=0.0)) for axis in (0, 1))
    return np.array(
        [
            steepest / max(contrast, _TINY) if contrast else 0.0,
            contrast,
            float(np.median(paper)) / 255.0 if paper.size else 0.0,
            float(paper.std()) / 255.0 if paper.size else 0.0,
            _margin(is_ink),
            crop.shape[0],
        ],
        dtype=np.float32,
    )


def score_features(probs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Describe how sure the model was of N crops.

    Args:
        probs: (N, 10), rows sum to 1.

    Returns:
        (N, 2) float32 in the order of `SCORE_FEATURES`: entropy in bits, and the gap between
        the two most probable digits.
    """
    entropy = -(probs * np.log2(np.maximum(probs, 1e-12))).sum(axis=1)
    top = np.partition(probs, -2, axis=1)[:, -2:]
    return np.stack([entropy, top[:, 1] - top[:, 0]], axis=1).astype(np.float32)


def _gradients(ink: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    padded: NDArray[np.float32] = np.pad(ink, ((0, 0), (1, 1), (1, 1)))
    half = np.float32(0.5)
    return (
        (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) * half,
        (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) * half,
    )


def _quantile(counts: NDArray[np.int64], frac: float) -> int:
    return int(np.searchsorted(np.cumsum(counts), frac * counts.sum()))


def _margin(is_ink: NDArray[np.bool_]) -> float:
    rows = np.flatnonzero(is_ink.any(axis=1))
    columns = np.flatnonzero(is_ink.any(axis=0))
    if not rows.size:
        return 1.0
    height, width = is_ink.shape
    down = (rows[0] + height - 1 - rows[-1]) / height
    across = (columns[0] + width - 1 - columns[-1]) / width
    return float(down + across) / 4
