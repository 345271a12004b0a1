import itertools
from dataclasses import replace

import numpy as np
import pytest

from model import field_paths
from model.field import Lattice, Piece, read_field

RNG = np.random.default_rng(7)


def lattice_of(num_segments, runs, **known):
    """A lattice whose pieces look alike, but for what is given."""
    num = len(runs)
    nodes = num_segments + 1
    made = Lattice(
        pieces=tuple(
            Piece(start, end, (10 * start, 0, 10 * (end - start), 20)) for start, end in runs
        ),
        images=np.zeros((num, 1, 28, 28), dtype=np.float32),
        num_nodes=nodes,
        heights=np.ones(num),
        widths=np.full(num, 0.6),
        drops=np.zeros(num),
        spreads=np.zeros(num),
        gaps=np.full(nodes, 0.1),
        cuts=np.zeros(nodes),
        masses=np.ones(num_segments),
        sizes=np.ones(num_segments),
    )
    return replace(made, **known)


def sure(digits, top=0.999):
    probs = np.full((len(digits), 10), (1 - top) / 9)
    probs[np.arange(len(digits)), digits] = top
    return probs


def read(lattice, probs, garbage=None, **options):
    chosen = {
        "num_digits": (2, 2), "possible": None, "threshold": 0.9, "garbage_threshold": -3.0,
    } | options  # fmt: skip
    garbage = np.full(len(probs), -8.0) if garbage is None else np.asarray(garbage, dtype=float)
    return read_field(lattice, probs, garbage, **chosen)


def brute_force(num_segments, runs, at_piece, at_node, skipped, num_digits):
    """Every path with its weight: pieces one after the other, everything else skipped."""
    found = {}
    for chosen in itertools.combinations(range(len(runs)), num_digits):
        ordered = [runs[index] for index in chosen]
        if any(after[0] < before[1] for before, after in itertools.pairwise(ordered)):
            continue
        taken = {segment for start, end in ordered for segment in range(start, end)}
        weight = sum(at_piece[index] for index in chosen)
        weight += sum(at_node[end] for _, end in ordered if end < num_segments)
        weight += sum(skipped[segment] for segment in range(num_segments) if segment not in taken)
        found[chosen] = np.exp(weight)
    return found


@pytest.mark.parametrize("num_digits", [1, 2, 3])
def test_the_paths_are_all_paths_in_order_of_their_share(num_digits):
    runs = sorted({(s, e) for s in range(5) for e in range(s + 1, min(s + 3, 5) + 1)})
    weights = RNG.normal(size=len(runs)), RNG.normal(size=6), RNG.normal(size=5)
    lattice = lattice_of(5, runs)
    found = field_paths.find_paths_by(lattice, *weights, (num_digits, num_digits), 10_000)
    expected = brute_force(5, runs, *weights, num_digits)
    total = sum(expected.values())
    others = [brute_force(5, runs, *weights, length) for length in (num_digits - 1, num_digits + 1)]
    everything = total + sum(sum(some.values()) for some in others)
    assert {path.pieces for path in found.paths} == set(expected)
    for path in found.paths:
        assert path.probability == pytest.approx(expected[path.pieces] / total)
    shares = [path.probability for path in found.paths]
    assert shares == sorted(shares, reverse=True)
    assert found.allowed_frac == pytest.approx(total / everything)


def test_a_clear_field_is_accepted():
    reading = read(lattice_of(2, [(0, 1), (1, 2)]), sure([4, 7]))
    assert reading.candidates[0][0] == "47"
    assert reading.rejected_because is None
    assert [digit.piece for digit in reading.digits] == [0, 1]


def test_two_ways_to_split_a_field_make_no_code_sure():
    runs = [(0, 1), (1, 3), (0, 2), (2, 3)]
    reading = read(lattice_of(3, runs), sure([1, 2, 3, 4]))
    assert {code for code, _ in reading.candidates[:2]} == {"12", "34"}
    assert reading.candidates[0][1] == pytest.approx(0.5, abs=0.05)
    assert reading.rejected_because == "low_confidence"


def test_ways_that_spell_the_same_code_add_up():
    runs = [(0, 1), (1, 3), (0, 2), (2, 3)]
    reading = read(lattice_of(3, runs), sure([1, 2, 1, 2]))
    assert reading.candidates[0] == ("12", pytest.approx(0.998, abs=0.002))


def test_a_directory_decides_between_two_ways():
    runs = [(0, 1), (1, 3), (0, 2), (2, 3)]

    def possible(prefixes, num_left, length):
        assert length == 2
        return prefixes == (34 // 10**num_left)

    reading = read(lattice_of(3, runs), sure([1, 2, 3, 4]), possible=possible)
    assert reading.candidates[0][0] == "34"
    assert reading.candidates[0][1] > 0.99
    assert reading.possible_frac == pytest.approx(0.5, abs=0.05)
    assert [digit.piece for digit in reading.digits] == [2, 3]


def test_a_code_that_is_not_in_the_directory_is_not_accepted():
    reading = read(
        lattice_of(2, [(0, 1), (1, 2)]), sure([4, 7]), possible=lambda p, n, _: p == 89 // 10**n
    )
    assert reading.rejected_because == "no_valid_code"
    assert reading.possible_frac < 0.1


def test_no_possible_code_leaves_no_candidates():
    reading = read(lattice_of(2, [(0, 1), (1, 2)]), sure([4, 7]), possible=lambda p, *_: p < 0)
    assert reading.candidates == ()
    assert reading.rejected_because == "no_valid_code"


def test_a_digit_with_a_high_garbage_score_is_no_digit():
    reading = read(lattice_of(2, [(0, 1), (1, 2)]), sure([4, 7]), garbage=[-8.0, -2.0])
    assert reading.rejected_because == "not_a_digit"


def test_a_field_with_too_few_pieces_has_no_code():
    reading = read(lattice_of(1, [(0, 1)]), sure([4]))
    assert reading.rejected_because == "no_code"
    assert reading.candidates == ()


def test_ink_left_out_of_the_code_costs():
    """Three digits where two are asked: the code of two is not accepted."""
    runs = [(0, 1), (1, 2), (2, 3)]
    reading = read(lattice_of(3, runs), sure([4, 7, 1]))
    assert reading.rejected_because == "no_code"


def test_a_small_dash_between_two_digits_is_left_out():
    lattice = lattice_of(
        3, [(0, 1), (1, 2), (2, 3)], masses=np.array([1.0, 0.1, 1.0]),
        sizes=np.array([1.0, 0.1, 1.0]), heights=np.array([1.0, 0.36, 1.0]),
    )  # fmt: skip
    reading = read(lattice, sure([4, 1, 7], 0.9999), garbage=[-9.0, 2.0, -9.0])
    assert reading.candidates[0][0] == "47"
    assert reading.rejected_because is None


def test_the_joint_posterior_is_that_of_all_paths_and_digits():
    runs = sorted({(s, e) for s in range(4) for e in range(s + 1, min(s + 2, 4) + 1)})
    lattice = lattice_of(4, runs)
    probs = RNG.dirichlet(np.ones(10), size=len(runs))
    garbage = RNG.normal(-5, 2, size=len(runs))
    at_piece = field_paths.piece_features(lattice, probs, garbage) @ field_paths.PIECE_WEIGHTS
    at_node = field_paths.node_features(lattice) @ field_paths.NODE_WEIGHTS
    skipped = field_paths.skip_features(lattice) @ field_paths.SKIP_WEIGHTS
    expected = dict.fromkeys((f"{code:02d}" for code in range(100)), 0.0)
    paths = brute_force(4, runs, at_piece, at_node, skipped, 2)
    for chosen, weight in paths.items():
        for code in expected:
            first, second = probs[chosen[0], int(code[0])], probs[chosen[1], int(code[1])]
            expected[code] += weight * first * second / sum(paths.values())
    reading = read(lattice, probs, garbage)
    assert len(reading.candidates) == 10
    for code, share in reading.candidates:
        assert share == pytest.approx(expected[code], rel=1e-3)
    best = max(expected, key=lambda code: expected[code])
    assert reading.candidates[0][0] == best


def test_a_digit_that_wrong_cuts_leave_is_less_probable_than_another():
    """The right half of an 8 is a good 3."""
    lattice = lattice_of(
        3, [(0, 1), (0, 2), (1, 3), (2, 3)], cuts=np.array([0.0, 1.0, 1.0, 0.0]),
        masses=np.array([0.8, 0.4, 0.8]),
    )  # fmt: skip
    codes = dict(read(lattice, sure([4, 4, 9, 3])).candidates)
    assert codes["49"] > 3 * codes["43"]


def test_what_a_whole_part_is_read_as_does_not_change_the_cuts():
    runs = [(0, 1), (1, 2), (2, 3)]
    lattice = lattice_of(3, runs, cuts=np.array([0.0, 0.0, 1.0, 0.0]))
    garbage = np.full(3, -8.0)
    weights = [
        field_paths.piece_features(lattice, sure(digits), garbage) @ field_paths.PIECE_WEIGHTS
        for digits in ([3, 3, 3], [9, 9, 9])
    ]
    assert weights[0][0] == weights[1][0]
    assert weights[0][1] != weights[1][1]
    assert weights[0][2] != weights[1][2]


@pytest.mark.parametrize(
    ("top", "garbage", "is_cut", "reason"),
    [
        (0.96, -8.0, False, None),
        (0.96, -8.0, True, "low_confidence"),
        (0.999, -8.0, True, None),
        (0.999, -4.0, False, None),
        (0.999, -4.0, True, "low_confidence"),
    ],
)
def test_digits_that_were_cut_apart_must_be_surer(top, garbage, is_cut, reason):
    lattice = lattice_of(2, [(0, 1), (1, 2)], cuts=np.array([0.0, 1.0 * is_cut, 0.0]))
    reading = read(lattice, sure([4, 7], top), garbage=[garbage, garbage])
    assert reading.candidates[0][0] == "47"
    assert reading.rejected_because == reason
