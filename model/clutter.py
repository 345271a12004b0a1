"""Which connected parts of the ink are not the digit: dirt, printed lines, a neighbour's stroke.

Knows nothing about how the parts were found or how they are removed.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.components import ink_bounds

SPECK_FRAC: Final = 0.04  # of the ink: a smaller separate part is dirt
LINE_SPAN_FRAC: Final = 0.8  # of the crop's side: a longer thin part at its edge is a box line
LINE_THICK_FRAC: Final = 0.2
NEIGHBOUR_FRAC: Final = 0.2  # of the ink: a smaller part cut by the crop's edge is a neighbour's
BESIDE_LINE_FRAC: Final = 0.1  # of the ink: less than this beside a box line is no digit


def find_clutter(
    box: NDArray[np.float32],
    parts: list[NDArray[np.bool_]],
    bounds: tuple[int, int, int, int],
    crop_shape: tuple[int, ...],
) -> list[NDArray[np.bool_]]:
    """Choose the parts that are dirt, a printed line or a neighbour's stroke.

    The largest part is kept, unless it is a line along the crop's edge and enough other ink is
    left: a box line often has more ink than the digit in the box.
    """
    masses = [float(box[part].sum()) for part in parts]
    total, largest = sum(masses), max(masses)
    places = [_Place.of(part, box.shape, bounds, crop_shape) for part in parts]
    dropped = [
        mass < largest
        and (
            mass < SPECK_FRAC * total
            or (place.is_at_edge and (mass < NEIGHBOUR_FRAC * total or place.is_line))
        )
        for mass, place in zip(masses, places, strict=True)
    ]
    left_over = sum(mass for mass, drop in zip(masses, dropped, strict=True) if not drop) - largest
    if left_over >= BESIDE_LINE_FRAC * total:
        first = masses.index(largest)
        dropped[first] = places[first].is_line_along_edge
    return [part for part, drop in zip(parts, dropped, strict=True) if drop]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a part lies in its crop."""

    touches_row_edge: bool  # the crop's top or bottom
    touches_column_edge: bool  # the crop's left or right
    height_frac: float  # of the crop's height
    width_frac: float  # of the crop's width

    @classmethod
    def of(
        cls,
        part: NDArray[np.bool_],
        box_shape: tuple[int, ...],
        bounds: tuple[int, int, int, int],
        crop_shape: tuple[int, ...],
    ) -> "_Place":
        top, bottom, left, right = bounds
        first_row, last_row, first_column, last_column = ink_bounds(part)
        height, width = crop_shape
        box_height, box_width = box_shape
        return cls(
            touches_row_edge=(top == 0 and first_row == 0)
            or (bottom == height and last_row == box_height),
            touches_column_edge=(left == 0 and first_column == 0)
            or (right == width and last_column == box_width),
            height_frac=(last_row - first_row) / box_height * (bottom - top) / height,
            width_frac=(last_column - first_column) / box_width * (right - left) / width,
        )

    @property
    def is_at_edge(self) -> bool:
        return self.touches_row_edge or self.touches_column_edge

    @property
    def is_line(self) -> bool:
        long_frac = max(self.height_frac, self.width_frac)
        thick_frac = min(self.height_frac, self.width_frac)
        return long_frac >= LINE_SPAN_FRAC and thick_frac <= LINE_THICK_FRAC

    @property
    def is_line_along_edge(self) -> bool:
        """Whether it runs along an edge: one that only ends there may be a 1 in a tight crop."""
        is_upright = self.height_frac > self.width_frac
        return self.is_line and (self.touches_column_edge if is_upright else self.touches_row_edge)
