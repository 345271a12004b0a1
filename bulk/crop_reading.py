"""Crops -> decisions, as the service reads them: decode, frame, infer in one call, decide.

The functions are the model's own, so that an answer is the service's (a test compares them to the
bit). Knows nothing about where crops come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bulk.inputs import Crop
from model.classifier import IMAGE_SHAPE, Classifier
from model.decision import BLANK, Decision, Policy, decide
from model.decode import decode
from model.errors import CropError
from model.framed import Framed
from model.preprocess import frame_many

FRAMED_AT_ONCE_PX: Final = 8_000_000  # pixels in memory together

_IMAGE_DIMS: Final = len(IMAGE_SHAPE)

Outcome = Decision | Exception


class CropReader:
    """Reads crops with one model on one thread."""

    def __init__(self, classifier: Classifier, policy: Policy) -> None:
        self._classifier = classifier
        self._policy = policy

    def read(self, crops: Sequence[Crop]) -> list[Outcome]:
        """One outcome for each crop, in order; a crop that cannot be read is its error."""
        try:
            return self._read(crops)
        except Exception as error:  # noqa: BLE001 - whatever it is, find whose it is
            if len(crops) == 1:
                return [error.with_traceback(None)]
            return [outcome for crop in crops for outcome in self.read([crop])]

    def _read(self, crops: Sequence[Crop]) -> list[Outcome]:
        outcomes: list[Outcome] = [BLANK] * len(crops)
        places: list[int] = []
        images: list[NDArray[np.float32]] = []
        for start, some in _decoded(crops):
            for place, one in enumerate(_framed(some), start):
                if isinstance(one, Exception):
                    outcomes[place] = one
                elif one is not None:
                    places.append(place)
                    images.append(one)
        if images:
            scores = self._classifier(np.concatenate(images)[:, np.newaxis])
            for place, decision in zip(places, decide(scores, self._policy), strict=True):
                outcomes[place] = decision
        return outcomes


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


def _framed(
    found: Sequence[NDArray[Any] | Exception],
) -> list[NDArray[np.float32] | Exception | None]:
    """(1, 28, 28) images, in order; None where a crop is blank. An image stays as it is."""
    crops = [one for one in found if not isinstance(one, Exception) and one.ndim != _IMAGE_DIMS]
    outcomes = iter(frame_many(crops))
    images: list[NDArray[np.float32] | Exception | None] = []
    for one in found:
        if isinstance(one, Exception) or one.ndim == _IMAGE_DIMS:
            images.append(one)
        else:
            outcome = next(outcomes)
            images.append(outcome.image if isinstance(outcome, Framed) else None)
    return images


def _pixels(crop: Crop) -> NDArray[Any] | Exception:
    if not isinstance(crop, bytes):
        return crop
    try:
        return decode(crop)
    except CropError as error:
        return error.with_traceback(None)
