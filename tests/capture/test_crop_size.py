"""What is stored of a crop is bounded."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from capture.crop_size import MAX_CROP_PX, reduce_crop


@pytest.mark.parametrize("shape", [(4, 4), (512, 512), (1, 262_144)])
def test_a_crop_within_the_limit_is_kept_as_it_is(shape):
    crop = np.zeros(shape, np.uint8)
    reduced, scale = reduce_crop(crop)
    assert reduced is crop
    assert scale == 1


@pytest.mark.parametrize("shape", [(513, 512), (2_000, 2_000), (4_096, 976), (60_000, 66)])
def test_a_larger_crop_is_the_mean_of_whole_blocks(shape):
    crop = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    reduced, scale = reduce_crop(crop)
    assert reduced.size <= MAX_CROP_PX
    assert reduced.dtype == np.uint8
    assert reduced.shape == tuple(-(-side // scale) for side in shape)
    for row, column in ((0, 0), (3, 7), (shape[0] // scale - 1, shape[1] // scale - 1)):
        block = crop[row * scale :, column * scale :][:scale, :scale]
        assert abs(int(reduced[row, column]) - block.mean()) <= 0.5


def test_incomplete_blocks_repeat_their_last_pixels():
    crop = np.full((1_001, 1_001), 200, np.uint8)
    reduced, _ = reduce_crop(crop)
    assert_array_equal(reduced, 200)
