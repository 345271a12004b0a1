import numpy as np
import pytest
from scipy import ndimage

from model.field_lines import take_lines_out


def field_with_strokes():
    """Five upright strokes of 6 px, 40 px high, in a field of 80x300 px."""
    mask = np.zeros((80, 300), dtype=bool)
    for left in range(40, 290, 50):
        mask[20:60, left : left + 6] = True
    return mask


def ruled(mask, row, slope=0.0, thick=2):
    lined = mask.copy()
    for column in range(mask.shape[1]):
        top = round(row + slope * (column - mask.shape[1] / 2))
        lined[top : top + thick, column] = True
    return lined


def test_strokes_alone_have_no_line():
    found = take_lines_out(field_with_strokes())
    assert found.num_lines == 0
    assert not found.lines.any()


@pytest.mark.parametrize("slope", [-0.06, -0.02, 0.0, 0.015, 0.07])
@pytest.mark.parametrize("thick", [1, 3])
def test_a_line_goes_and_the_strokes_that_it_crosses_stay(slope, thick):
    strokes = field_with_strokes()
    found = take_lines_out(ruled(strokes, 45, slope, thick))
    assert found.num_lines == 1
    assert (found.mask & strokes).sum() == strokes.sum()
    assert (found.mask & ~strokes).sum() <= 0.15 * 300 * thick
    # No stroke is broken: as many parts as before.
    assert ndimage.label(found.mask & strokes, np.ones((3, 3)))[1] == 5


def test_a_line_below_the_strokes_goes():
    strokes = field_with_strokes()
    found = take_lines_out(ruled(strokes, 66))
    assert np.array_equal(found.mask, strokes)


def test_the_walls_of_cells_go_and_the_strokes_between_them_stay():
    strokes = field_with_strokes()
    lined = ruled(ruled(strokes, 10), 70)
    for column in range(15, 300, 50):
        lined[10:72, column : column + 2] = True
    found = take_lines_out(lined)
    assert found.num_lines == 2 + 6
    assert (found.mask & strokes).sum() == strokes.sum()
    rest = np.count_nonzero(found.mask & ~strokes)
    assert rest <= 0.1 * np.count_nonzero(lined & ~strokes)
    assert ndimage.label(found.mask & ndimage.binary_dilation(strokes))[1] == 5


def test_a_bar_of_a_digits_length_stays():
    strokes = field_with_strokes()
    strokes[20:24, 40:90] = True
    assert take_lines_out(strokes).num_lines == 0


def test_a_thin_one_in_a_frame_stays():
    field = np.zeros((80, 300), dtype=bool)
    field[18:64, 150:152] = True
    found = take_lines_out(ruled(ruled(field, 10), 70))
    assert found.num_lines == 2
    assert np.array_equal(found.mask, field)
