"""Paths through a lattice: the weight of each, the total of all, the heaviest ones.

A path is a choice of pieces for the digits. Its weight is a log-linear function of what its
pieces, its boundaries and the ink that it skips look like (a semi-Markov conditional random field).

Source:
    Sarawagi and Cohen, "Semi-Markov conditional random fields for information extraction", 2004.
"""

import heapq
import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model.field_lattice import Lattice

GARBAGE_RANGE: Final = (-12.0, 6.0)  # of the score; beyond, it tells nothing more
LEAST_PROB: Final = 6e-6  # of a digit; below, its log tells nothing more
MAX_POPS: Final = 4000  # steps of the search for the heaviest paths: bounds the time
NONE: Final = -1e9  # log weight of no way at all; finite, so that differences are numbers
IMPOSSIBLE: Final = -1e8  # below: no way at all
LEAST_REST: Final = 1e-4  # share of the paths that are not listed

# Weights, fitted by `python -m training field --fit all`.
# Of a piece that is cut, for each digit: cut at its left, at its right, its log probability. Below
# 0 is what wrong cuts leave: the right half of an 8 is a good 3. Fitted with the others held, by
# `python -m training field --fit cuts --num-fields 4700 --seed 5` (2026-11-27).
CUT_WEIGHTS: Final = (
    (0.18, -0.07, -1.09, -1.37, 0.40, -0.63, -0.02, -0.40, 0.34, 1.05),
    (0.39, 0.49, -0.48, 0.89, 0.26, 0.23, -0.72, 0.38, -0.06, 0.26),
    (-0.19, -0.61, 0.18, -0.12, -0.02, -0.19, 0.41, -0.13, 0.38, 0.22),
)
PIECE_WEIGHTS: Final = np.array(
    [-1.84, -0.55, 0.08, 1.57, -3.34, -2.27, -4.23, -1.18, -4.96, -0.56]
    + [weight for weights in CUT_WEIGHTS for weight in weights]
)
NODE_WEIGHTS: Final = np.array([-0.02, 0.92, -1.26, 0.1])
SKIP_WEIGHTS: Final = np.array([0.19, -9.11, 0.92, -2.86])
SINGLE_SKIP_WEIGHT: Final = -3.0  # by hand, where the number of digits is open


# A path that does not end yet: minus the best weight it can have, node, digits left, its weight so
# far, its pieces.
_Begun = tuple[float, int, int, float, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Path:
    """One way to choose the digits' pieces."""

    pieces: tuple[int, ...]  # indices, in order of writing
    probability: float  # share of the paths with an allowed number of digits


@dataclass(frozen=True, slots=True)
class Paths:
    """The most probable paths with an allowed number of digits."""

    paths: list[Path]  # most probable first; empty: there is none
    allowed_frac: (
        float  # share that all such paths have; those of a digit more or less have the rest
    )


def piece_features(
    lattice: Lattice, probs: NDArray[np.float64], garbage: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """(N, 40) what speaks for and against each piece being one digit."""
    score = np.clip(garbage, *GARBAGE_RANGE)
    height = np.log(np.maximum(lattice.heights, 0.05))
    looks = np.stack(
        [
            np.ones(len(score)),
            score,
            np.maximum(score + 2.0, 0.0),
            np.log(np.maximum(probs.max(axis=1), 1e-6)),
            np.square(height),
            np.maximum(-height - 0.2, 0.0),
            np.maximum(lattice.widths - 0.7, 0.0),
            np.maximum(0.3 - lattice.widths, 0.0),
            np.abs(lattice.drops),
            lattice.spreads,
        ],
        axis=1,
    )
    return np.concatenate([looks, _cut_features(lattice, probs)], axis=1)


def _cut_features(lattice: Lattice, probs: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 30) what each piece is read as, where it is cut; 0 where it is not."""
    is_cut = lattice.cuts > 0.0
    left = is_cut[[piece.start for piece in lattice.pieces]][:, np.newaxis]
    right = is_cut[[piece.end for piece in lattice.pieces]][:, np.newaxis]
    # 1 where it is sure, 0 at e^-6.
    logs = 1.0 + np.log(np.maximum(probs, LEAST_PROB)) / 6.0
    return np.concatenate([left * probs, right * probs, (left | right) * logs], axis=1)


def node_features(lattice: Lattice) -> NDArray[np.float64]:
    """(num_nodes, 4) what speaks for and against a boundary between two digits at each node."""
    is_cut = lattice.cuts > 0.0
    return np.stack(
        [
            1.0 - is_cut,
            np.clip(lattice.gaps, -0.5, 0.5),
            1.0 * is_cut,
            np.minimum(lattice.cuts, 4.0),
        ],
        axis=1,
    )


def skip_features(lattice: Lattice) -> NDArray[np.float64]:
    """(segments, 4) what speaks for and against each segment being no part of a digit."""
    is_cut = lattice.cuts > 0.0
    return np.stack(
        [
            np.ones(len(lattice.masses)),
            np.minimum(lattice.masses, 1.0),
            lattice.sizes,
            1.0 * is_cut[1:] + is_cut[:-1],
        ],
        axis=1,
    )


def find_paths(
    lattice: Lattice,
    probs: NDArray[np.float64],
    garbage: NDArray[np.floating[Any]],
    num_digits: tuple[int, int],
    max_paths: int,
    is_single: NDArray[np.bool_],
) -> Paths:
    """The most probable paths.

    Args:
        lattice: of N pieces.
        probs: (N, 10).
        garbage: (N,).
        num_digits: least and most digits of a path.
        max_paths: at most so many.
        is_single: (segments,) which look like one digit each, so that they are hardly dirt.
    """
    at_piece = piece_features(lattice, probs, garbage) @ PIECE_WEIGHTS
    at_node = node_features(lattice) @ NODE_WEIGHTS
    skipped = skip_features(lattice) @ SKIP_WEIGHTS
    if num_digits[0] < num_digits[1]:  # otherwise their number tells whether one is left out
        skipped[is_single] += SINGLE_SKIP_WEIGHT
    return find_paths_by(lattice, at_piece, at_node, skipped, num_digits, max_paths)


def find_paths_by(
    lattice: Lattice,
    at_piece: NDArray[np.float64],
    at_node: NDArray[np.float64],
    skipped: NDArray[np.float64],
    num_digits: tuple[int, int],
    max_paths: int,
) -> Paths:
    """As `find_paths`, from the log weights of (N,) pieces, nodes and skipped segments."""
    return _Search(lattice, at_piece, at_node, skipped, num_digits).best(max_paths)


class _Search:
    """Sums over all paths, and the heaviest ones in order of weight.

    `ahead[k][node]` is the log of the summed weights of all ways from a node to the last node with
    k more digits; it bounds the best of them, so the search (A*) finds paths in order.
    """

    def __init__(
        self,
        lattice: Lattice,
        at_piece: NDArray[np.float64],
        at_node: NDArray[np.float64],
        skipped: NDArray[np.float64],
        num_digits: tuple[int, int],
    ) -> None:
        self._last = lattice.num_nodes - 1
        self._skipped = skipped.tolist()
        self._steps: list[list[tuple[int, int, float]]] = [[] for _ in range(lattice.num_nodes)]
        for index, (piece, weight) in enumerate(
            zip(lattice.pieces, at_piece.tolist(), strict=True)
        ):
            boundary = float(at_node[piece.end]) if piece.end < self._last else 0.0
            self._steps[piece.start].append((index, piece.end, weight + boundary))
        self._lengths = range(num_digits[0], num_digits[1] + 1)
        self._total, self._most = self._look_ahead(num_digits[1] + 1)

    def _look_ahead(self, most: int) -> tuple[list[list[float]], list[list[float]]]:
        """Log of the summed weights, and the largest weight, for k more digits from each node."""
        total = np.full((self._last + 1, most + 2), NONE)  # column 0: for less than no digits
        largest = total.copy()
        total[self._last, 1] = largest[self._last, 1] = 0.0
        for node in range(self._last - 1, -1, -1):
            steps = self._steps[node]
            ends = [end for _, end, _ in steps]
            weights = np.array([weight for _, _, weight in steps])[:, np.newaxis]
            skip = self._skipped[node]
            ways = np.concatenate(
                [skip + total[node + 1, 1:][np.newaxis], weights + total[ends, :-1]]
            )
            highest = ways.max(axis=0)
            total[node, 1:] = highest + np.log(np.exp(ways - highest).sum(axis=0))
            tops = (weights + largest[ends, :-1]).max(axis=0, initial=NONE)
            largest[node, 1:] = np.maximum(skip + largest[node + 1, 1:], tops)
        return total[:, 1:].T.tolist(), largest[:, 1:].T.tolist()

    def best(self, max_paths: int) -> Paths:
        """The heaviest paths, heaviest first, until next to nothing is left."""
        everything = _log_sum([self._total[length][0] for length in self._lengths])
        if everything < IMPOSSIBLE:
            return Paths([], 0.0)
        beside = [self._lengths[0] - 1, self._lengths[-1] + 1]
        others = _log_sum([everything, *(self._total[length][0] for length in beside)])
        return Paths(self._list(everything, max_paths), math.exp(everything - others))

    def _list(self, everything: float, max_paths: int) -> list[Path]:
        waiting: list[_Begun] = [
            (-self._most[length][0], 0, length, 0.0, ())
            for length in self._lengths
            if self._most[length][0] > IMPOSSIBLE
        ]
        heapq.heapify(waiting)
        found: list[Path] = []
        rest = 1.0
        for _ in range(MAX_POPS):
            if not waiting or len(found) == max_paths or rest < LEAST_REST:
                break
            _, node, left, weight, pieces = heapq.heappop(waiting)
            if node == self._last:
                found.append(Path(pieces, math.exp(weight - everything)))
                rest -= found[-1].probability
                continue
            skipped, bounds = weight + self._skipped[node], self._most[left]
            if bounds[node + 1] > IMPOSSIBLE:
                way = (-(skipped + bounds[node + 1]), node + 1, left, skipped, pieces)
                heapq.heappush(waiting, way)
            if left:
                bounds = self._most[left - 1]
                for index, end, extra in self._steps[node]:
                    if bounds[end] > IMPOSSIBLE:
                        after = weight + extra
                        way = (-(after + bounds[end]), end, left - 1, after, (*pieces, index))
                        heapq.heappush(waiting, way)
        return found


def _log_sum(logs: list[float]) -> float:
    most = max(logs)
    return most + math.log(sum(math.exp(one - most) for one in logs))
