"""A model's answers on data whose truth is known: what training leaves for the drift reference.

Training writes them. Promotion builds the champion's ``reference.parquet`` from them, and so does
``python -m monitoring reference``. Knows nothing about records or drift.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """A model's answers on data whose truth is known: what a drift reference is made from.

    Take validation data, never the test set and never training data. `crops` are the pictures
    before preprocessing, of any size, dark or light; `images` what the model saw.
    """

    model_version: str
    threshold: float
    garbage_threshold: float
    crops: list[NDArray[np.uint8]]  # N of (H, W)
    images: NDArray[np.uint8]  # (N, 28, 28), `to_uint8` of the model's input
    probs: NDArray[np.float32]  # (N, 10), after the temperature
    garbage: NDArray[np.float32]  # (N,), -inf when the model has no such output
    labels: NDArray[np.int64]  # (N,)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Save predictions as a compressed .npz: a flat array of crop pixels beside their shapes."""
    crops = predictions.crops
    np.savez_compressed(
        path,
        model_version=np.array(predictions.model_version),
        threshold=np.array(predictions.threshold),
        garbage_threshold=np.array(predictions.garbage_threshold),
        crop_pixels=np.concatenate([crop.ravel() for crop in crops]),
        crop_shapes=np.array([crop.shape for crop in crops], dtype=np.int32),
        images=predictions.images,
        probs=predictions.probs,
        garbage=predictions.garbage,
        labels=predictions.labels,
    )


def read_predictions(path: Path) -> Predictions:
    """Load what `write_predictions` saved; nothing in it is unpickled."""
    with np.load(path, allow_pickle=False) as saved:
        shapes = saved["crop_shapes"]
        ends = np.cumsum(shapes.prod(axis=1))
        flat = np.split(saved["crop_pixels"], ends[:-1])
        return Predictions(
            model_version=str(saved["model_version"]),
            threshold=float(saved["threshold"]),
            garbage_threshold=float(saved["garbage_threshold"]),
            crops=[pixels.reshape(shape) for pixels, shape in zip(flat, shapes, strict=True)],
            images=saved["images"],
            probs=saved["probs"],
            garbage=saved["garbage"],
            labels=saved["labels"],
        )
