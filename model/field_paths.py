"""Paths through a lattice: the weight of each, the total of all, the heaviest ones.

A path is a choice of pieces for the digits. Its weight is a log-linear function of what its
pieces, its boundaries and the ink that it skips look like (a semi-Markov conditional random field).

Source:
    Sarawagi and Cohen, "Semi-Markov conditional random fields for information extraction", 2004.
"""

import heapq
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.field_lattice import Lattice

GARBAGE_RANGE: Final = (-12.0, 6.0)  # of the score; beyond, it tells nothing more
MAX_POPS: Final = 4000  # steps of the search for the heaviest paths

# Weights, by hand until they are fitted.
PIECE_WEIGHTS: Final = np.array([-3.8, -0.53, 0.23, 1.03, -3.1, -1.48, -5.2, -2.08, -4.31, -3.78])
NODE_WEIGHTS: Final = np.array([0.17, 0.9, 0.28, 0.08])
SKIP_WEIGHTS: Final = np.array([-1.19, -11.51, 0.46])


@dataclass(frozen=True, slots=True)
class Path:
    """One way to choose the digits' pieces."""

    pieces: tuple[int, ...]  # indices, in order of writing
    probability: float  # share of all paths with an allowed number of digits


def piece_features(
    lattice: Lattice, probs: NDArray[np.float64], garbage: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N, 10) what speaks for and against each piece being one digit."""
    score = np.clip(garbage, *GARBAGE_RANGE)
    height = np.log(np.maximum(lattice.heights, 0.05))
    return np.stack(
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
    """(segments, 3) what speaks for and against each segment being no part of a digit."""
    return np.stack(
        [np.ones(len(lattice.masses)), np.minimum(lattice.masses, 1.0), lattice.sizes], axis=1
    )


def find_paths(
    lattice: Lattice,
    probs: NDArray[np.float64],
    garbage: NDArray[np.float64],
    num_digits: tuple[int, int],
    max_paths: int,
) -> list[Path]:
    """The most probable paths, most probable first.

    Args:
        lattice: of N pieces.
        probs: (N, 10).
        garbage: (N,).
        num_digits: least and most digits of a path.
        max_paths: at most so many.

    Returns:
        Paths with their share of all paths; none where the lattice has no path of that length.
    """
    at_piece = piece_features(lattice, probs, garbage) @ PIECE_WEIGHTS
    at_node = node_features(lattice) @ NODE_WEIGHTS
    skipped = skip_features(lattice) @ SKIP_WEIGHTS
    return find_paths_by(lattice, at_piece, at_node, skipped, num_digits, max_paths)


def find_paths_by(
    lattice: Lattice,
    at_piece: NDArray[np.float64],
    at_node: NDArray[np.float64],
    skipped: NDArray[np.float64],
    num_digits: tuple[int, int],
    max_paths: int,
) -> list[Path]:
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
        self._total, self._most = self._look_ahead(num_digits[1])

    def _look_ahead(self, most: int) -> tuple[list[list[float]], list[list[float]]]:
        """Log of the summed weights, and the largest weight, from each node with k more digits."""
        none = -np.inf
        total = [[none] * (self._last + 1) for _ in range(most + 1)]
        largest = [[none] * (self._last + 1) for _ in range(most + 1)]
        total[0][self._last] = largest[0][self._last] = 0.0
        for node in range(self._last - 1, -1, -1):
            skip = self._skipped[node]
            for left in range(most + 1):
                ways = [skip + total[left][node + 1]]
                tops = [skip + largest[left][node + 1]]
                if left:
                    ways += [w + total[left - 1][end] for _, end, w in self._steps[node]]
                    tops += [w + largest[left - 1][end] for _, end, w in self._steps[node]]
                largest[left][node] = max(tops)
                total[left][node] = _log_sum(ways)
        return total, largest

    def best(self, max_paths: int) -> list[Path]:
        everything = _log_sum([self._total[length][0] for length in self._lengths])
        if everything == -np.inf:
            return []
        waiting: list[tuple[float, int, int, float, tuple[int, ...]]] = [
            (-self._most[length][0], 0, length, 0.0, ())
            for length in self._lengths
            if self._most[length][0] > -np.inf
        ]
        heapq.heapify(waiting)
        found: list[Path] = []
        for _ in range(MAX_POPS):
            if not waiting or len(found) == max_paths:
                break
            _, node, left, weight, pieces = heapq.heappop(waiting)
            if node == self._last and left == 0:
                found.append(Path(pieces, float(np.exp(weight - everything))))
                continue
            for following in self._following(node, left, weight, pieces):
                if following[0] < np.inf:
                    heapq.heappush(waiting, following)
        return found

    def _following(
        self, node: int, left: int, weight: float, pieces: tuple[int, ...]
    ) -> list[tuple[float, int, int, float, tuple[int, ...]]]:
        skipped = weight + self._skipped[node]
        ways = [(-(skipped + self._most[left][node + 1]), node + 1, left, skipped, pieces)]
        if left:
            for index, end, extra in self._steps[node]:
                after = weight + extra
                bound = -(after + self._most[left - 1][end])
                ways.append((bound, end, left - 1, after, (*pieces, index)))
        return ways


def _log_sum(logs: list[float]) -> float:
    most = max(logs)
    if most == -np.inf:
        return most
    return most + float(np.log(sum(np.exp(one - most) for one in logs)))
