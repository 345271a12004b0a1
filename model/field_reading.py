"""A lattice and its scores -> the code: the joint posterior over segmentations and digits.

Each path through the lattice gives its digits' probabilities; a code's probability is summed over
all paths that spell it. So where the field can be split in two ways, no code is sure.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model.field_lattice import MIN_HEIGHT, FieldDigit, FieldReading, Lattice
from model.field_paths import Path, find_paths

MAX_PATHS: Final = 40
BEAM: Final = 2048  # prefixes kept for each place
NUM_CODES: Final = 10  # that are returned
MIN_POSSIBLE_FRAC: Final = 0.1  # of the joint mass, as serving.api.codes has it
MIN_LENGTH_FRAC: Final = 0.5  # of the paths' mass that an allowed number of digits must have
# On 3,000 fields of MNIST's training file with one touching pair, 933 are accepted without the next
# two and 6 of them are wrong; with them 635, and 0. At 0.5 of the allowed error 4 of 1,798 sure
# codes with cuts were wrong, at 0.35 0 of 1,509 (4,700 fields, earlier weights, 2026-11-27).
CUT_ERROR_FRAC: Final = 0.35  # of the error that is allowed
CUT_GARBAGE_MARGIN: Final = 1.8  # below the garbage threshold
# A field's whole parts settle its code where each looks like one digit.
SETTLED_FRAC: Final = 0.9  # of the paths' mass that the best one must have
SETTLED_MASS: Final = 0.3  # of a digit's ink: more is not left out
SETTLED_SIZE: Final = 0.5  # of a digit's height
SINGLE_MARGIN: Final = 0.5  # below the garbage threshold
WIDE: Final = 0.7  # of a digit's height
WIDE_MARGIN: Final = 9.0
FEW_MARGIN: Final = 1.5  # more, where there are fewer parts than digits
_FLOOR: Final = 1e-10  # a prefix below this mass cannot change the result

# Prefixes (P,) int64, digits that follow, digits of the code -> (P,) bool: may be a possible code.
# It is `serving.api.codes.Postcodes.possible`. It is called with 0 digits to follow once for each
# number of digits, with whole codes: the place to match a pattern, too.
Possible = Callable[[NDArray[np.int64], int, int], NDArray[np.bool_]]


def read_field(
    lattice: Lattice,
    probs: NDArray[np.float64],
    garbage: NDArray[np.floating[Any]],
    *,
    num_digits: tuple[int, int],
    possible: Possible | None,
    matches: Callable[[str], bool] | None = None,
    threshold: float,
    garbage_threshold: float,
) -> FieldReading:
    """Decide on the code of a field.

    Args:
        lattice: of N pieces.
        probs: (N, 10) each piece's probabilities (`model.decision.softmax` with the policy's
            temperature).
        garbage: (N,) the model's scores, as they are.
        num_digits: least and most digits of the code.
        possible: which prefixes may become a possible code; None: all. Its form is that of
            `serving.api.codes.Postcodes.possible`.
        matches: whether a whole code is possible; asked of the 2,048 most probable codes only,
            because it may be slow. None: all are.
        threshold: least probability of an accepted code; the policy's.
        garbage_threshold: a digit with a higher score is none; the policy's.

    Returns:
        `rejected_because` is None or, in this order: "no_code" (the ink looks like more or fewer
        digits), "no_valid_code" (no possible code has 0.1 of the mass), "not_a_digit",
        "low_confidence".
    """
    is_single = _are_single(lattice, garbage, garbage_threshold)
    found = find_paths(lattice, probs, garbage, num_digits, MAX_PATHS, is_single)
    paths = found.paths
    if not paths:
        return FieldReading((), (), 0.0, "no_code")
    codes, total = _rank(paths, probs, possible, matches)
    if not codes:
        return FieldReading(
            _digits_of(paths[0], lattice, probs, garbage), (), total, "no_valid_code"
        )
    candidates = tuple((code, mass / total) for code, mass in codes)
    best = _path_of(candidates[0][0], paths, probs)
    digits = _digits_of(best, lattice, probs, garbage)
    reason = None
    if found.allowed_frac < MIN_LENGTH_FRAC:
        reason = "no_code"
    elif total < MIN_POSSIBLE_FRAC:
        reason = "no_valid_code"
    elif any(digit.garbage > garbage_threshold for digit in digits):
        reason = "not_a_digit"
    elif not _is_sure(candidates[0][1], digits, lattice, threshold, garbage_threshold):
        reason = "low_confidence"
    is_settled = (
        reason in (None, "low_confidence")
        and best.probability >= SETTLED_FRAC
        and _is_all_read(best, lattice)
        and bool(_look_single(list(best.pieces), lattice, garbage, garbage_threshold).all())
    )
    return FieldReading(digits, candidates, min(total, 1.0), reason, is_settled)


def _is_all_read(path: Path, lattice: Lattice) -> bool:
    """Whether a path leaves nothing out that may be a digit or a part of one."""
    is_free = np.ones(lattice.num_nodes - 1, dtype=np.bool_)
    for index in path.pieces:
        is_free[lattice.pieces[index].start : lattice.pieces[index].end] = False
    left_out = (lattice.masses > SETTLED_MASS) | (lattice.sizes > SETTLED_SIZE)
    return not (is_free & left_out).any()


def _look_single(
    pieces: list[int],
    lattice: Lattice,
    garbage: NDArray[np.floating[Any]],
    garbage_threshold: float,
) -> NDArray[np.bool_]:
    """Whether pieces look like one digit each; a wide one may be two that touch."""
    margins = WIDE_MARGIN * np.maximum(lattice.widths[pieces] - WIDE, 0.0) + SINGLE_MARGIN
    looks: NDArray[np.bool_] = garbage[pieces] <= garbage_threshold - margins
    return looks


def _are_single(
    lattice: Lattice, garbage: NDArray[np.floating[Any]], garbage_threshold: float
) -> NDArray[np.bool_]:
    """(segments,) Whether each is apart from its neighbours and looks like one digit."""
    is_single = np.zeros(lattice.num_nodes - 1, dtype=np.bool_)
    alone = [index for index, one in enumerate(lattice.pieces) if one.end == one.start + 1]
    starts = [lattice.pieces[index].start for index in alone]
    is_single[starts] = _look_single(alone, lattice, garbage, garbage_threshold)
    is_apart: NDArray[np.bool_] = is_single & (lattice.cuts[:-1] == 0) & (lattice.cuts[1:] == 0)
    return is_apart


def find_singles(
    whole: Lattice,
    garbage: NDArray[np.floating[Any]],
    *,
    least_digits: int,
    garbage_threshold: float,
) -> tuple[bool, ...]:
    """Which parts need no cut, because each looks like one digit or is too low for two.

    Args:
        whole: the lattice of whole parts.
        garbage: (N,) the model's scores of its pieces.
        least_digits: of the code; where there are fewer parts, some must be cut.
        garbage_threshold: the policy's.
    """
    limit = garbage_threshold - (FEW_MARGIN if whole.num_nodes <= least_digits else 0.0)
    is_single = _are_single(whole, garbage, limit) | (whole.sizes < MIN_HEIGHT)
    if is_single.all():  # they settle no code, so one of them is not what it looks like
        is_single[:] = False
    return tuple(is_single.tolist())


def _is_sure(
    probability: float,
    digits: tuple[FieldDigit, ...],
    lattice: Lattice,
    threshold: float,
    garbage_threshold: float,
) -> bool:
    """Whether a code is sure enough; one with digits that were cut apart must be surer.

    A wrong cut makes a good 1 of a 7 whose bar went to its neighbour.
    """
    is_cut = lattice.cuts > 0.0
    pieces = [lattice.pieces[digit.piece] for digit in digits]
    cut = [
        digit.garbage
        for digit, piece in zip(digits, pieces, strict=True)
        if is_cut[piece.start] or is_cut[piece.end]
    ]
    if not cut:
        return probability >= threshold
    return (
        1.0 - probability <= CUT_ERROR_FRAC * (1.0 - threshold)
        and max(cut) <= garbage_threshold - CUT_GARBAGE_MARGIN
    )


def _rank(
    paths: list[Path],
    probs: NDArray[np.float64],
    possible: Possible | None,
    matches: Callable[[str], bool] | None,
) -> tuple[list[tuple[str, float]], float]:
    """Possible codes with their mass, heaviest first, and the mass that possible codes may have.

    Mass that was not looked at counts as possible, so that no probability is too high.
    """
    possible_mass = max(0.0, 1.0 - sum(path.probability for path in paths))
    codes: list[tuple[str, float]] = []
    for length in sorted({len(path.pieces) for path in paths}):
        some = [path for path in paths if len(path.pieces) == length]
        numbers, mass, lost = _extend(some, length, probs, possible)
        best = np.argsort(-mass, kind="stable")[: NUM_CODES if matches is None else BEAM]
        possible_mass += lost + float(mass.sum())
        codes += [
            (f"{number:0{length}d}", share)
            for number, share in zip(numbers[best].tolist(), mass[best].tolist(), strict=True)
        ]
    codes.sort(key=lambda code: -code[1])
    if matches is None:
        return codes[:NUM_CODES], possible_mass
    kept = [code for code in codes[:BEAM] if matches(code[0])]
    refused = sum(share for _, share in codes[:BEAM]) - sum(share for _, share in kept)
    return kept[:NUM_CODES], max(possible_mass - refused, 0.0)


def _extend(
    paths: list[Path], length: int, probs: NDArray[np.float64], possible: Possible | None
) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
    """All codes that paths of one length spell: number, mass; and the mass that was left out."""
    pieces = np.array([path.pieces for path in paths])
    mass = np.array([path.probability for path in paths])
    prefixes, rows = np.zeros(len(paths), dtype=np.int64), np.arange(len(paths))
    lost = 0.0
    for place in range(length):
        prefixes = (prefixes[:, np.newaxis] * 10 + np.arange(10)).ravel()
        mass = (mass[:, np.newaxis] * probs[pieces[rows, place]]).ravel()
        rows = np.repeat(rows, 10)
        keep = mass > _FLOOR
        if possible is not None:
            allowed = possible(prefixes, length - place - 1, length)
            lost += float(mass[~keep & allowed].sum())
            keep &= allowed
        else:
            lost += float(mass[~keep].sum())
        prefixes, mass, rows = prefixes[keep], mass[keep], rows[keep]
        if len(mass) > BEAM:
            best = np.argpartition(mass, -BEAM)[-BEAM:]
            lost += float(mass.sum() - mass[best].sum())
            prefixes, mass, rows = prefixes[best], mass[best], rows[best]
    numbers, inverse = np.unique(prefixes, return_inverse=True)
    summed = np.bincount(inverse, weights=mass, minlength=len(numbers)).astype(np.float64)
    return numbers, summed, lost


def _path_of(code: str, paths: list[Path], probs: NDArray[np.float64]) -> Path:
    """The path that gives a code most of its mass."""
    digits = [int(digit) for digit in code]
    spelling = [path for path in paths if len(path.pieces) == len(digits)]
    return max(
        spelling, key=lambda path: path.probability * float(probs[path.pieces, digits].prod())
    )


def _digits_of(
    path: Path, lattice: Lattice, probs: NDArray[np.float64], garbage: NDArray[np.floating[Any]]
) -> tuple[FieldDigit, ...]:
    return tuple(
        FieldDigit(lattice.pieces[index].box, probs[index], float(garbage[index]), index)
        for index in path.pieces
    )
