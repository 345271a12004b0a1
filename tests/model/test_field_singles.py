"""Which whole parts of a field look like one digit, and when they settle its code."""

import numpy as np
import pytest
from test_field_paths import lattice_of, read, sure

from model.field import FieldReading, cut_apart, find_singles, find_uncut, split_field

RUNS = [(0, 1), (1, 2), (2, 3)]
LIMIT = -3.0


def singles(garbage, least_digits=3, **known):
    return find_singles(
        lattice_of(3, RUNS, **known),
        np.array(garbage),
        least_digits=least_digits,
        garbage_threshold=LIMIT,
    )


def test_a_part_with_a_high_garbage_score_is_cut_alone():
    assert singles([-8.0, -2.0, -8.0]) == (True, False, True)


def test_a_wide_part_must_look_more_like_a_digit():
    assert singles([-4.0, -4.0, -2.0], widths=np.array([0.6, 1.2, 0.6])) == (True, False, False)


def test_a_low_part_is_never_cut():
    assert singles([-8.0, -2.0, -1.0], sizes=np.array([1.0, 1.0, 0.3])) == (True, False, True)


def test_where_there_are_too_few_parts_one_is_cut_that_looks_like_a_digit_nearly():
    assert singles([-4.0, -8.0, -8.0], least_digits=4) == (False, True, True)
    assert singles([-4.0, -8.0, -2.0], least_digits=3) == (True, True, False)


def test_where_all_look_like_digits_and_settle_no_code_all_are_cut():
    assert singles([-8.0, -8.0, -8.0], least_digits=4) == (False, False, False)


def test_only_parts_that_are_not_single_are_cut():
    field = np.full((60, 200), 240, dtype=np.uint8)
    for left in (20, 60, 120, 160):
        field[10:50, left : left + 6] = 20
    for top in (10, 30):
        field[top : top + 5, 20:66] = field[top : top + 5, 120:166] = 20
    parts = split_field(field, 8)
    assert parts.whole.num_nodes == 3
    lattice = cut_apart(parts, (True, False))
    assert (lattice.cuts > 0).any()
    first = [piece for piece in lattice.pieces if piece.start == 0]
    assert [piece.end for piece in first] == [1]
    assert first[0].box == parts.whole.pieces[0].box


@pytest.mark.parametrize(
    ("garbage", "known", "is_settled"),
    [
        ([-8.0, -8.0, -8.0], {}, True),
        ([-8.0, -3.2, -8.0], {}, False),  # hardly a digit
        ([-8.0, -8.0, -8.0], {"widths": np.array([0.6, 1.6, 0.6])}, False),
    ],
)
def test_whole_parts_settle_a_code_where_each_looks_like_one_digit(garbage, known, is_settled):
    lattice = lattice_of(3, RUNS, **known)
    reading = read(lattice, sure([1, 2, 3]), garbage, num_digits=(3, 3))
    assert reading.is_settled == is_settled


def test_ink_that_is_left_out_settles_no_code():
    lattice = lattice_of(3, RUNS, masses=np.array([1.0, 1.0, 0.4]))
    garbage = [-8.0, -8.0, 5.0]
    assert not read(lattice, sure([1, 2, 3]), garbage, num_digits=(2, 2)).is_settled


def test_a_narrow_digit_is_hardly_left_out_where_the_number_of_digits_is_open():
    lattice = lattice_of(
        3, RUNS, masses=np.array([1.0, 0.3, 1.0]), widths=np.array([0.6, 0.15, 0.6])
    )
    shares = []
    for garbage in (-3.4, -3.6):  # the second looks like a digit
        reading = read(lattice, sure([5, 1, 7]), [-8.0, garbage, -8.0], num_digits=(2, 4))
        shares.append(dict(reading.candidates)["57"])
    assert shares[1] < 0.1 * shares[0]


@pytest.mark.parametrize(
    ("rejected_because", "is_single", "then"),
    [
        (None, (True, False), (False, False)),  # accepted: read once more with all cuts
        (None, (False, False), None),  # it was read with all cuts
        ("low_confidence", (True, False), None),
    ],
)
def test_a_code_with_cuts_is_accepted_only_after_all_parts_were_cut(
    rejected_because, is_single, then
):
    reading = FieldReading((), (), 1.0, rejected_because)
    parts = split_field(np.full((40, 90), 255, np.uint8) - bars(), 5)
    found = find_uncut(
        parts, reading, np.array([-8.0, -8.0]), is_single, least_digits=2, garbage_threshold=LIMIT
    )
    assert found == then


def bars():
    """(40, 90) uint8: the ink of two strokes."""
    ink = np.zeros((40, 90), np.uint8)
    ink[5:35, 20:25] = ink[5:35, 60:65] = 220
    return ink
