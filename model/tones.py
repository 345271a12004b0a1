"""Which grey levels of a crop are paper and which are ink, by Otsu's threshold.

Knows nothing about shapes.

Source:
    Otsu, "A threshold selection method from gray-level histograms", 1979.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.errors import BlankCrop
from model.framed import MIN_CONTRAST

PAPER_SPREAD_FRAC: Final = 0.15  # of the way to the pen: still paper, with its grain
CLEAR_EDGE_FRAC: Final = 0.03  # of an edge is ink
OTSU_SAMPLE_PX: Final = 64 * 64

_LEVELS: Final = np.arange(256, dtype=np.float64)


class Tones(NamedTuple):
    """What is paper and what is ink in one crop."""

    is_ink: NDArray[np.bool_]  # (H, W)
    inverted: bool
    paper: float  # mean grey
    pen: float
    pen_frac: float  # of the area
    border_ink_frac: float  # of the border's pixels
    edge_ink_frac: float  # of the edge that has the most
    num_clear_edges: int  # of the four: those with next to no ink
    crosses_lying: bool  # ink touches the left and the right edge
    crosses_upright: bool  # and the top and the bottom edge
    separability: float  # Otsu's: 1 where paper and pen have one grey level each
    table: NDArray[np.float32]  # (256,) grey -> ink: 0 paper, 1 the pen's mean

    def ink_of(self, grey: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Grey -> ink: 0 paper, 1 the pen's mean."""
        return self.table.take(grey)


def find_tones(grey: NDArray[np.uint8], *, inverted: bool | None = None) -> Tones:
    """Split paper from ink by Otsu's threshold, and decide which of the two is the paper.

    Args:
        grey: (H, W) uint8.
        inverted: whether the ink is light, where that is known.

    Raises:
        BlankCrop: the two differ by less than the scanner's noise.
    """
    threshold, dark, light, dark_frac, separability = _otsu(grey)
    if light - dark < MIN_CONTRAST:
        raise BlankCrop(
            f"paper and ink differ by {light - dark:.0f} grey levels; "
            f"at least {MIN_CONTRAST:.0f} are needed; check whether the crop is empty"
        )
    is_light = grey > threshold
    edges = (is_light[0], is_light[-1], is_light[:, 0], is_light[:, -1])
    top, bottom, left, right = (int(np.count_nonzero(edge)) for edge in edges)
    height, width = grey.shape
    border_frac = (top + bottom + left + right) / (2.0 * (height + width))
    if inverted is None:
        # Paper covers most of the border and of the area. Both shares are added, because a digit
        # that fills its crop covers the border and a bold digit the area, but none covers both.
        inverted = border_frac + (1.0 - dark_frac) < 1.0
    if inverted:
        is_ink, paper, pen, pen_frac = is_light, dark, light, 1.0 - dark_frac
    else:
        is_ink, paper, pen, pen_frac = ~is_light, light, dark, dark_frac
        border_frac = 1.0 - border_frac
        top, bottom, left, right = width - top, width - bottom, height - left, height - right
    few_across, few_down = CLEAR_EDGE_FRAC * width, CLEAR_EDGE_FRAC * height
    return Tones(
        is_ink=is_ink,
        inverted=inverted,
        paper=paper,
        pen=pen,
        pen_frac=pen_frac,
        border_ink_frac=border_frac,
        edge_ink_frac=max(max(top, bottom) / width, max(left, right) / height),
        num_clear_edges=(top <= few_across)
        + (bottom <= few_across)
        + (left <= few_down)
        + (right <= few_down),
        crosses_lying=left > 0 and right > 0,
        crosses_upright=top > 0 and bottom > 0,
        separability=separability,
        table=_ramp(paper, pen),
    )


def _ramp(paper: float, pen: float) -> NDArray[np.float32]:
    start = paper + PAPER_SPREAD_FRAC * (pen - paper)
    ramp = _LEVELS - start
    ramp *= 1.0 / (pen - start)
    np.maximum(ramp, 0.0, out=ramp)
    np.minimum(ramp, 1.0, out=ramp)
    return ramp.astype(np.float32)


def _otsu(grey: NDArray[np.uint8]) -> tuple[int, float, float, float, float]:
    """Otsu's threshold, the mean grey on its dark and light side, the dark share, separability.

    A crop of more than 64x64 px is sampled at every second row and column: that gives the same
    split in a quarter of the time.
    """
    sample = grey if grey.size <= OTSU_SAMPLE_PX else grey[::2, ::2]
    counts = np.bincount(sample.ravel(), minlength=256).astype(np.float64)
    below = counts.cumsum()
    moments = counts * _LEVELS
    moment = moments.cumsum()
    total, total_moment = float(below[-1]), float(moment[-1])
    above = total - below
    # Where one side is empty the numerator is 0 as well, so a divisor of 1 keeps the 0.
    spread = (total_moment * below - total * moment) ** 2 / np.maximum(below * above, 1.0)
    threshold = int(spread.argmax())
    dark_count, dark_moment = float(below[threshold]), float(moment[threshold])
    if dark_count in (0.0, total):
        level = total_moment / total
        return threshold, level, level, 0.0, 1.0
    dark = dark_moment / dark_count
    light = (total_moment - dark_moment) / (total - dark_count)
    variance = total * float(moments @ _LEVELS) - total_moment**2
    return threshold, dark, light, dark_count / total, float(spread[threshold]) / variance
