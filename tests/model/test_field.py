import numpy as np
import pytest

from model.errors import BlankCrop
from model.field import NoDigits, TooManyPieces, find_pieces


def field_of(*lefts, shape=(60, 300), factor=1):
    """Upright strokes of 6x40 px: ones."""
    field = np.full(shape, 240, dtype=np.uint8)
    for left in lefts:
        field[10:50, left : left + 6] = 20
    return np.kron(field, np.ones((factor, factor), dtype=np.uint8))


@pytest.mark.parametrize("factor", [1, 3, 8])
def test_a_piece_lies_where_its_ink_is_in_the_field_as_sent(factor):
    lattice = find_pieces(field_of(40, 130, 220, factor=factor), 5)
    singles = {piece.start: piece.box for piece in lattice.pieces if piece.end == piece.start + 1}
    assert len(singles) == lattice.num_nodes - 1 == 3
    for number, left in enumerate((40, 130, 220)):
        x, y, width, height = singles[number]
        for found, expected in ((x, left), (y, 10), (x + width, left + 6), (y + height, 50)):
            assert abs(found - expected * factor) <= factor


def test_pieces_are_runs_of_neighbours_and_have_an_image_each():
    lattice = find_pieces(field_of(40, 55, 130), 5)
    assert lattice.images.shape == (len(lattice.pieces), 1, 28, 28)
    assert 0.0 <= lattice.images.min() <= lattice.images.max() <= 1.0
    runs = [(piece.start, piece.end) for piece in lattice.pieces]
    assert runs == [(0, 1), (0, 2), (1, 2), (2, 3)]


def test_an_empty_field_is_blank():
    with pytest.raises(BlankCrop):
        find_pieces(np.full((60, 300), 240, dtype=np.uint8), 5)


def test_ink_lower_than_a_digit_is_none():
    field = np.full((60, 300), 240, dtype=np.uint8)
    field[30:33, 100:106] = 20
    with pytest.raises(NoDigits, match="a digit has at least 7 px"):
        find_pieces(field, 5)


def test_more_separate_ink_than_a_code_can_have_is_refused():
    field = field_of(*range(10, 290, 9))
    with pytest.raises(TooManyPieces, match="at most 20"):
        find_pieces(field, 5)


@pytest.mark.parametrize("shape", [(150, 600), (1000, 4000), (3, 5), (4000, 30)])
@pytest.mark.parametrize("max_digits", [5, 12])
def test_a_field_of_blots_has_a_bounded_number_of_pieces(shape, max_digits):
    rng = np.random.default_rng(1)
    small = rng.random([max(1, side // 14) for side in shape]) < 0.4
    field = np.where(np.kron(small, np.ones((14, 14))), 20, 240).astype(np.uint8)
    try:
        lattice = find_pieces(field, max_digits)
    except (BlankCrop, NoDigits, TooManyPieces):
        return
    assert len(lattice.pieces) <= 7 * 4 * max_digits


def test_a_loose_bar_belongs_to_its_digit():
    """A 5 whose bar stands above it, apart: only the 1 beside it is apart from it."""
    field = field_of(130)
    for rows, columns in (
        ((16, 32), (40, 46)),
        ((26, 32), (40, 62)),
        ((26, 50), (56, 62)),
        ((44, 50), (40, 62)),
    ):
        field[slice(*rows), slice(*columns)] = 20
    field[8:13, 44:64] = 20
    lattice = find_pieces(field, 5)
    assert np.count_nonzero(lattice.cuts[1:-1] == 0) == 1
    assert (40, 8, 24, 42) in [piece.box for piece in lattice.pieces]


def test_specks_and_a_dash_below_are_no_segments():
    field = field_of(40, 130)
    field[5:7, 80:82] = 20
    field[56:58, 60:90] = 20
    assert find_pieces(field, 5).num_nodes == 3
