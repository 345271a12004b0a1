"""European forms of 1 and 7, drawn onto American digits.

MNIST's writers write 1 as a bare stroke and 7 without a bar. In Europe a 1 has a long upstroke
and a 7 is crossed. Pure. Knows nothing about scanning.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIDE_PX = 28
FINE = 4  # drawn this much larger, so that the strokes have soft edges
STROKE_PX = (1.4, 2.6)


def add_strokes(
    images: NDArray[np.uint8], labels: NDArray[np.uint8], frac: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Give a share of the 1s an upstroke and of the 7s a bar.

    Args:
        images: (N, 28, 28) uint8, ink bright; not changed.
        labels: (N,).
        frac: share of the 1s and 7s.
        rng: source of randomness.

    Returns:
        (N, 28, 28) uint8.
    """
    written = images.copy()
    for row in np.flatnonzero(((labels == 1) | (labels == 7)) & (rng.random(len(labels)) < frac)):
        line = _upstroke(images[row], rng) if labels[row] == 1 else _bar(images[row], rng)
        np.maximum(written[row], _stroke(line, rng), out=written[row])
    return written


Line = tuple[float, float, float, float]  # x, y, x, y in px


def _upstroke(image: NDArray[np.uint8], rng: np.random.Generator) -> Line:
    """From the top of the stem down to the left, by 25 to 60 % of its height."""
    rows, columns = np.nonzero(image > 128)
    height = int(np.ptp(rows)) + 1
    top = int(rows.min())
    x = float(columns[rows <= top + 1].mean())
    drop = height * rng.uniform(0.25, 0.6)
    slope = rng.uniform(0.45, 1.1)  # px to the left for each px down
    return x, top + 1.0, max(1.0, x - drop * slope), top + 1.0 + drop


def _bar(image: NDArray[np.uint8], rng: np.random.Generator) -> Line:
    """Across the stem, a little above or below its middle."""
    rows, columns = np.nonzero(image > 128)
    height = int(np.ptp(rows)) + 1
    y = rows.min() + height * rng.uniform(0.42, 0.62)
    near = columns[np.abs(rows - y) <= 1.5]
    x = float(near.mean()) if len(near) else SIDE_PX / 2
    reach = height * rng.uniform(0.15, 0.3)
    tilt = reach * rng.uniform(-0.45, 0.2)
    return x - reach, y - tilt, x + reach, y + tilt


def _stroke(line: Line, rng: np.random.Generator) -> NDArray[np.uint8]:
    canvas = Image.new("L", (SIDE_PX * FINE, SIDE_PX * FINE), 0)
    thick_px = round(rng.uniform(*STROKE_PX) * FINE)
    ends = [(line[0] * FINE, line[1] * FINE), (line[2] * FINE, line[3] * FINE)]
    ImageDraw.Draw(canvas).line(ends, fill=255, width=thick_px)
    return np.asarray(canvas.resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX))
