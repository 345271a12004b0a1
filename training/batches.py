"""The batches of a fit: images on the device that fits, mixed and moved a little.

Knows nothing about networks, losses or files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from model.preprocess import MARK_PX
from training.data.datasets import LabelledImages
from training.data.render import DAMAGED

Batch = tuple[torch.Tensor, torch.Tensor]  # (B, 1, 28, 28) float32 in [0, 1] and (B,) int64


@dataclass(frozen=True, slots=True)
class FitData:
    """The images of one fit. Rendered parts are None for the plain recipe."""

    train: LabelledImages
    validation: LabelledImages
    rendered: LabelledImages | None
    rendered_validation: LabelledImages | None


def device() -> torch.device:
    """A GPU where there is one; the recipe is made for two processor cores."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True, slots=True)
class Part:
    """Images (N, 28, 28) uint8 and labels (N,) int64 on the device that fits."""

    images: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def of(cls, part: LabelledImages) -> Part:
        """The same images on the device."""
        return cls(
            torch.from_numpy(part.images).to(device()),
            torch.from_numpy(part.labels.astype(np.int64)).to(device()),
        )

    @classmethod
    def of_digits(cls, part: LabelledImages) -> Part:
        """Without damaged digits and garbage."""
        return cls.of(part.take(np.flatnonzero(part.labels < DAMAGED)))

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.intp]) -> Batch:
        """The images and labels of these rows."""
        chosen = torch.from_numpy(rows).to(device())
        return self.images[chosen][:, None].float() / 255, self.labels[chosen]


def plain(train: Part, batch_size: int, rng: np.random.Generator) -> Iterator[Batch]:
    """One epoch of shuffled batches."""
    num_batches = num_steps(train, batch_size)
    order = rng.permutation(len(train))
    for rows in np.array_split(order[: num_batches * batch_size], num_batches):
        yield train.take(rows)


def mixed(
    train: Part,
    rendered: Part,
    batch_size: int,
    rng: np.random.Generator,
    *,
    raw_frac: float,
    jitter: float,
) -> Iterator[Batch]:
    """One epoch of shuffled batches of both parts; the images are moved a little.

    Args:
        train: MNIST as it is.
        rendered: the pool.
        batch_size: images of both parts together.
        rng: source of randomness.
        raw_frac: share of `train` in each batch.
        jitter: scale of the moves.
    """
    num_raw = round(batch_size * raw_frac)
    num_rendered = batch_size - num_raw
    raw_order = rng.permutation(len(train))
    rendered_order = rng.permutation(len(rendered))
    for batch in range(num_steps(train, batch_size)):
        parts = (
            train.take(_wrapped(raw_order, batch * num_raw, num_raw)),
            rendered.take(_wrapped(rendered_order, batch * num_rendered, num_rendered)),
        )
        images, labels = (torch.cat(both) for both in zip(*parts, strict=True))
        yield jitter_images(images, jitter, rng), labels


def num_steps(train: Part, batch_size: int) -> int:
    """Batches of an epoch: as many as MNIST alone fills."""
    return len(train) // batch_size or 1


def _wrapped(order: NDArray[np.intp], start: int, num: int) -> NDArray[np.intp]:
    rows: NDArray[np.intp] = order.take(range(start, start + num), mode="wrap")
    return rows


def jitter_images(images: torch.Tensor, scale: float, rng: np.random.Generator) -> torch.Tensor:
    """Move half of the images a little: about a pixel, 6 degrees, 7 % of size."""
    num = len(images)
    moves = rng.uniform(-1, 1, (num, 2, 3)) * scale * (rng.random((num, 1, 1)) < 0.5)
    moves *= np.array([[0.07, 0.14, 0.08], [0.1, 0.07, 0.08]])
    moves += np.array([[1, 0, 0], [0, 1, 0]])
    grid = functional.affine_grid(
        torch.from_numpy(moves.astype(np.float32)).to(images.device),
        list(images.shape),
        align_corners=False,
    )
    moved = functional.grid_sample(images, grid, align_corners=False)
    # The border shows where the crop's edge cuts a stroke; a move would lose that.
    inside = slice(MARK_PX, -MARK_PX)
    border = images.clone()
    border[..., inside, inside] = 0
    return torch.maximum(moved, border)
