"""Part `field` of the benchmark: the time of a whole field, beside its digits as single crops."""

import statistics
import time
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loadtest import digit_crops
from loadtest.process import pinned_to
from loadtest.servers import SERVER_CORE
from model.artifact import Artifact, load
from model.classifier import Classifier
from model.decision import decide, softmax
from model.field import find_pieces, read_field
from model.preprocess import preprocess

SIZES: Final = {
    "5 digits, 600x150 px": (5, (600, 150)),
    "5 digits, 4000x1000 px": (5, (4000, 1000)),
    "9 digits, 900x150 px": (9, (900, 150)),
}
NUM_FIELDS: Final = 40
PAPER: Final = 240
INK: Final = 20
MARGIN_FRAC: Final = 0.25


def field_times() -> dict[str, dict[str, float]]:
    """Milliseconds of processor time of each step, median over 40 fields, for sizes and lengths."""
    crops = [crop.pixels() for crop in digit_crops.load()]
    timer = _Timer(load())
    rows = {}
    with pinned_to(SERVER_CORE):
        for name, (num_digits, size) in SIZES.items():
            times = []
            for number in range(NUM_FIELDS):
                some = [crops[(number * 16 + 41 * step) % len(crops)] for step in range(num_digits)]
                times.append(timer.time(some, size))
            rows[name] = {key: statistics.median(one[key] for one in times) for key in times[0]}
    return rows


class _Timer:
    """Reads fields and crops with one model."""

    def __init__(self, artifact: Artifact) -> None:
        self._classifier, self._policy = Classifier(artifact.onnx_bytes), artifact.policy()

    def time(self, crops: list[NDArray[np.uint8]], size: tuple[int, int]) -> dict[str, float]:
        """Milliseconds of each step for the crops' field, and for the crops alone."""
        field, policy, num_digits = _field(crops, size), self._policy, len(crops)
        begun = time.thread_time()
        lattice = find_pieces(field, num_digits)
        split = time.thread_time()
        scores = self._classifier(lattice.images)
        inferred = time.thread_time()
        read_field(
            lattice,
            softmax(scores.logits, policy.temperature),
            scores.garbage,
            num_digits=(num_digits, num_digits),
            possible=None,
            threshold=policy.threshold,
            garbage_threshold=policy.garbage_threshold,
        )
        read = time.thread_time()
        decide(self._classifier(np.stack([preprocess(crop) for crop in crops])), policy)
        end = time.thread_time()
        return {
            "find_pieces_ms": 1e3 * (split - begun),
            "inference_ms": 1e3 * (inferred - split),
            "read_field_ms": 1e3 * (read - inferred),
            "crops_ms": 1e3 * (end - read),
            "num_pieces": len(lattice.pieces),
        }


def _field(crops: list[NDArray[np.uint8]], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The crops' digits side by side, dark on light."""
    ink = np.concatenate([preprocess(crop)[0] for crop in crops], axis=1)
    margin = round(MARGIN_FRAC * ink.shape[0])
    picture = Image.fromarray(np.pad(ink, margin)).resize(size, Image.Resampling.BICUBIC)
    grey = PAPER + (INK - PAPER) * np.clip(np.asarray(picture), 0, 1)
    field: NDArray[np.uint8] = np.rint(grey).astype(np.uint8)
    return field
