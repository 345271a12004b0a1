"""Fits the weights of `model/field_paths.py` to made-up fields of training digits.

The weights maximise the probability of the true codes, summed over all paths that spell them. Each
field's heaviest paths are listed once; then the fit is a logistic regression over paths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from model import field_paths
from model.classifier import Classifier
from model.decision import Policy, softmax
from model.errors import CropError
from model.field import find_pieces
from training.data.datasets import LabelledImages
from training.studies.field_strings import draw_field

MAX_PATHS = 300  # of a field, by flattened first weights
FLATTEN = 0.4
LEAST_LOG_TRUTH = -1.5
PENALTY = 1e-4  # of the squared weights, for each field
CUT_PENALTY = 3e-4  # the same where only CUT_WEIGHTS are fitted
CUT_COLUMNS = slice(10, 40)  # of the joined weights
LENGTHS = (4, 5, 5, 5, 6, 9)
ANY_LENGTH = (4, 10)


@dataclass(frozen=True, slots=True)
class _Listed:
    """The paths of one field."""

    features: NDArray[np.float64]  # (P, F) summed over what each path takes
    log_truth: NDArray[np.float64]  # (P,) log of the true digits' probabilities


def fit(
    classifier: Classifier,
    policy: Policy,
    sources: list[LabelledImages],
    num: int,
    seed: int,
    *,
    only_cuts: bool,
) -> tuple[NDArray[np.float64], float]:
    """The weights of pieces, nodes and skipped segments, joined; the mean log probability.

    Args:
        classifier: reads the pieces.
        policy: that is in force.
        sources: digits, taken in turn.
        num: fields.
        seed: of the fields.
        only_cuts: hold all weights but those of cut pieces, which begin at 0; three of four fields
            have one touching pair.
    """
    rng = np.random.default_rng(seed)
    listed = []
    for number in range(num):
        num_touching = 1 if only_cuts and number % 4 else None
        one = _list_paths(classifier, policy, sources[number % len(sources)], num_touching, rng)
        if one is not None:
            listed.append(one)
    first = first_weights()
    is_free = np.ones(len(first), np.bool_)
    if only_cuts:
        is_free[:] = False
        is_free[CUT_COLUMNS] = True
        first[CUT_COLUMNS] = 0.0
    penalty = CUT_PENALTY if only_cuts else PENALTY

    def loss(free: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = first.copy()
        weights[is_free] = free
        value, gradient = _loss(weights, listed)
        return value + penalty * float(free @ free), gradient[is_free] + 2 * penalty * free

    found = optimize.minimize(
        loss, first[is_free], jac=True, method="L-BFGS-B", options={"maxiter": 300}
    )
    first[is_free] = found.x
    return first, -float(_loss(first, listed)[0])


def first_weights() -> NDArray[np.float64]:
    """The weights in force, joined."""
    return np.concatenate(
        [field_paths.PIECE_WEIGHTS, field_paths.NODE_WEIGHTS, field_paths.SKIP_WEIGHTS]
    )


def _list_paths(
    classifier: Classifier,
    policy: Policy,
    digits: LabelledImages,
    num_touching: int | None,
    rng: np.random.Generator,
) -> _Listed | None:
    length = int(rng.choice(LENGTHS))
    row = int(rng.integers(len(digits) - length))
    rows = np.arange(row, row + length)
    drawn = draw_field(digits, rows, rng, num_touching=num_touching, has_dash=length == 9)
    bounds = (length, length) if rng.random() < 0.5 else ANY_LENGTH
    try:
        lattice = find_pieces(drawn.field, bounds[1])
    except CropError:
        return None
    scores = classifier(lattice.images)
    probs = softmax(scores.logits, policy.temperature)
    garbage = scores.garbage.astype(np.float64)
    at_piece = field_paths.piece_features(lattice, probs, garbage)
    at_node = field_paths.node_features(lattice)
    skipped = field_paths.skip_features(lattice)
    sizes = [at_piece.shape[1], at_node.shape[1], skipped.shape[1]]
    parts = np.split(first_weights() * FLATTEN, np.cumsum(sizes)[:-1])
    paths = field_paths.find_paths_by(
        lattice, at_piece @ parts[0], at_node @ parts[1], skipped @ parts[2], bounds, MAX_PATHS
    ).paths
    if not paths:
        return None
    taken, truths = [], []
    for path in paths:
        pieces = [lattice.pieces[index] for index in path.pieces]
        free = np.ones(lattice.num_nodes - 1, np.bool_)
        for piece in pieces:
            free[piece.start : piece.end] = False
        ends = [piece.end for piece in pieces if piece.end < lattice.num_nodes - 1]
        taken.append(
            np.concatenate(
                [
                    at_piece[list(path.pieces)].sum(axis=0),
                    at_node[ends].sum(axis=0),
                    skipped[free].sum(axis=0),
                ]
            )
        )
        is_long = len(path.pieces) == length
        right = probs[list(path.pieces), [int(d) for d in drawn.code]] if is_long else [1e-12]
        truths.append(float(np.log(np.maximum(right, 1e-12)).sum()))
    listed = _Listed(np.array(taken), np.array(truths))
    # Where no path can be right, nothing is learned from the field.
    return listed if listed.log_truth.max() > LEAST_LOG_TRUTH else None


def _loss(weights: NDArray[np.float64], listed: list[_Listed]) -> tuple[float, NDArray[np.float64]]:
    loss, gradient = 0.0, np.zeros_like(weights)
    for one in listed:
        logs = one.features @ weights
        every = _softmax(logs)
        joint = logs + one.log_truth
        right = _softmax(joint)
        loss += _log_sum(logs) - _log_sum(joint)
        gradient += (every - right) @ one.features
    return loss / len(listed), gradient / len(listed)


def _softmax(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    raised: NDArray[np.float64] = np.exp(logs - logs.max())
    raised /= raised.sum()
    return raised


def _log_sum(logs: NDArray[np.float64]) -> float:
    return float(logs.max() + np.log(np.exp(logs - logs.max()).sum()))
