import numpy as np
import pytest

from model.field_cuts import Part, find_seams

HEIGHT, STROKE = 40, 6


def rings(overlap_px):
    """Two rings of 40 px, the second one so far into the first."""
    rows, columns = np.indices((HEIGHT, 2 * HEIGHT - overlap_px))
    middle = (HEIGHT - 1) / 2
    mask = np.zeros(rows.shape, dtype=bool)
    for left in (0, HEIGHT - overlap_px):
        radius = np.hypot(rows - middle, columns - middle - left)
        mask |= (radius <= middle + 0.5) & (radius > middle + 0.5 - STROKE)
    return mask


def seams_of(mask, most=15):
    padded = np.pad(mask, 3).astype(np.float32)
    return find_seams(padded, [Part(mask, 3, 3, most)], STROKE, HEIGHT)[0]


@pytest.mark.parametrize("overlap_px", [1, 3, 5])
def test_touching_rings_are_cut_where_they_touch(overlap_px):
    mask = rings(overlap_px)
    middle = mask.shape[1] / 2
    columns = np.arange(mask.shape[1])
    wrong = [
        np.count_nonzero(mask & ((columns <= seam.columns[:, np.newaxis]) != (columns < middle)))
        for seam in seams_of(mask)
    ]
    assert min(wrong) <= 0.05 * mask.sum()


def test_a_seam_crosses_about_as_many_strokes_as_it_says():
    for seam in seams_of(rings(3)):
        rows = np.flatnonzero((seam.columns >= 0) & (seam.columns < rings(3).shape[1]))
        crossed = np.count_nonzero(rings(3)[rows, seam.columns[rows]]) / STROKE
        assert crossed <= seam.strokes + 0.01


def test_seams_are_in_order_and_no_more_than_asked():
    seams = seams_of(rings(3), most=3)
    assert len(seams) == 3
    middles = [seam.columns.mean() for seam in seams]
    assert middles == sorted(middles)


def test_a_part_that_may_not_be_cut_is_not_cut():
    assert seams_of(rings(3), most=0) == []


def test_nothing_is_cut_off_that_is_less_than_a_stroke():
    """An upright stroke is one digit: every cut leaves crumbs, or cuts it along its length."""
    stroke = np.ones((HEIGHT, STROKE), dtype=bool)
    assert seams_of(stroke) == []


def test_a_hair_as_high_as_a_digit_is_not_cut_off():
    stroke = np.zeros((HEIGHT, 16), dtype=bool)
    stroke[:, :STROKE] = stroke[:1] = stroke[:, -1:] = True
    assert seams_of(stroke) == []
