import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import ndimage

from model.field_labels import find_parts
from model.field_lattice import TooManyPieces


@pytest.mark.parametrize("ink_frac", [0.1, 0.4, 0.6])
@pytest.mark.parametrize("seed", range(8))
def test_the_parts_are_those_of_scipy(ink_frac, seed):
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(1, 40, 2)) < ink_frac
    parts = find_parts(mask)
    expected, number = ndimage.label(mask, np.ones((3, 3)))
    assert len(parts.areas) == number
    pairs = set(zip(parts.labels.ravel().tolist(), expected.ravel().tolist(), strict=True))
    assert len(pairs) == number + (not mask.all())
    for part in range(number):
        rows, columns = np.nonzero(parts.labels == part + 1)
        bounds = (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1, len(rows))
        assert tuple(side[part] for side in parts[1:]) == bounds


def test_an_empty_mask_has_no_parts():
    parts = find_parts(np.zeros((4, 5), dtype=bool))
    assert len(parts.areas) == 0
    assert_array_equal(parts.labels, np.zeros((4, 5)))


def test_ink_at_both_ends_of_two_rows_is_two_parts():
    mask = np.zeros((2, 6), dtype=bool)
    mask[0, -1] = mask[1, 0] = True
    assert len(find_parts(mask).areas) == 2


def test_noise_is_refused_before_its_parts_are_joined():
    noise = np.indices((200, 200)).sum(axis=0) % 2 == 0
    with pytest.raises(TooManyPieces, match="at most 12000 are allowed"):
        find_parts(noise)
