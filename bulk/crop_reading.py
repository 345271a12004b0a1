"""Crops -> decisions, as the service reads them: decode, frame, infer in one call, decide.

The functions are the model's own, so that an answer is the service's (a test compares them to the
bit). Knows nothing about where crops come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

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
        places, images = [], []
        for place, image in _framed(crops):
            if isinstance(image, Exception):
                outcomes[place] = image
            elif image is not None:
                places.append(place)
                images.append(image)
        if images:
            scores = self._classifier(np.concatenate(images)[:, np.newaxis])
            for place, decision in zip(places, decide(scores, self._policy), strict=True):
                outcomes[place] = decision
        return outcomes


def _framed(
    crops: Sequence[Crop],
) -> Iterator[tuple[int, NDArray[np.float32] | Exception | None]]:
    """Each crop's place and (1, 28, 28) image; None where it is blank. In no order."""
    waiting: list[tuple[int, NDArray[np.uint8]]] = []
    num_px = 0
    for place, crop in enumerate(crops):
        if not isinstance(crop, (bytes, Exception)) and crop.ndim == len(IMAGE_SHAPE):
            yield place, crop
            continue
        found = _pixels(crop)
        if isinstance(found, Exception):
            yield place, found
            continue
        waiting.append((place, found))
        num_px += found.size
        if num_px > FRAMED_AT_ONCE_PX:
            yield from _frame(waiting)
            waiting, num_px = [], 0
    if waiting:
        yield from _frame(waiting)


def _frame(
    waiting: Sequence[tuple[int, NDArray[np.uint8]]],
) -> Iterator[tuple[int, NDArray[np.float32] | None]]:
    places, pixels = zip(*waiting, strict=True)
    for place, outcome in zip(places, frame_many(pixels), strict=True):
        yield place, outcome.image if isinstance(outcome, Framed) else None


def _pixels(crop: Crop) -> NDArray[np.uint8] | Exception:
    if not isinstance(crop, bytes):
        return crop
    try:
        return decode(crop)
    except CropError as error:
        return error.with_traceback(None)
