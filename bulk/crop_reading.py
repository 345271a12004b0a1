"""Crops -> answers, as the service reads them: decode, frame, infer in one call, decide.

The functions are the model's own, so that an answer is the service's (a test compares them to the
bit). Knows nothing about where crops come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bulk.answer_columns import Answers, decide_all, join
from bulk.inputs import Crop
from model.classifier import IMAGE_SHAPE, Classifier
from model.decision import Policy
from model.decode import decode
from model.errors import CropError
from model.framed import Framed
from model.preprocess import frame_many

FRAMED_AT_ONCE_PX: Final = 8_000_000  # pixels in memory together

_IMAGE_DIMS: Final = len(IMAGE_SHAPE)


class CropReader:
    """Reads crops with one model on one thread."""

    def __init__(self, classifier: Classifier, policy: Policy) -> None:
        self._classifier = classifier
        self._policy = policy

    def read(self, crops: Sequence[Crop]) -> Answers:
        """The answers to crops, in order; a crop that cannot be read is its error."""
        try:
            return self._read(crops)
        except Exception as error:  # noqa: BLE001 - whatever it is, find whose it is
            if len(crops) == 1:
                errors = {0: error.with_traceback(None)}
                return decide_all(None, (), errors, 1, self._policy)
            return join([self.read([crop]) for crop in crops])

    def _read(self, crops: Sequence[Crop]) -> Answers:
        errors: dict[int, Exception] = {}
        images: dict[int, NDArray[np.float32]] = {}
        for start, some in _decoded(crops):
            framed: dict[int, NDArray[Any]] = {}
            for place, one in enumerate(some, start):
                if isinstance(one, Exception):
                    errors[place] = one
                elif one.ndim == _IMAGE_DIMS:
                    images[place] = one
                else:
                    framed[place] = one
            for place, outcome in zip(framed, frame_many(list(framed.values())), strict=True):
                if isinstance(outcome, Framed):
                    images[place] = outcome.image
        read = sorted(images)
        batch = [images[place] for place in read]
        scores = self._classifier(np.concatenate(batch)[:, np.newaxis]) if batch else None
        return decide_all(scores, read, errors, len(crops), self._policy)


def _decoded(crops: Sequence[Crop]) -> Iterator[tuple[int, list[NDArray[Any] | Exception]]]:
    """The crops' pixels, as many together as may be in memory, with the place of the first."""
    start, num_px = 0, 0
    found: list[NDArray[Any] | Exception] = []
    for crop in crops:
        pixels = _pixels(crop)
        found.append(pixels)
        num_px += 0 if isinstance(pixels, Exception) else pixels.size
        if num_px > FRAMED_AT_ONCE_PX:
            yield start, found
            start, num_px, found = start + len(found), 0, []
    yield start, found


def _pixels(crop: Crop) -> NDArray[Any] | Exception:
    if not isinstance(crop, bytes):
        return crop
    try:
        return decode(crop)
    except CropError as error:
        return error.with_traceback(None)
