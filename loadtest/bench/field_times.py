"""Part `field` of the benchmark: the time of a whole field, beside its digits as single crops."""

import statistics
import time
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loadtest import digit_crops
from loadtest.process import pinned_to
from loadtest.servers import SERVER_CORE
from model.artifact import Artifact, load
from model.classifier import Classifier
from model.decision import decide, softmax
from model.field import FieldReading, Lattice, cut_apart, find_uncut, read_field, split_field
from model.preprocess import preprocess

SIZES: Final = {
    "5 digits, 600x150 px": (5, (600, 150), False),
    "5 digits, two of them touch, 600x150 px": (5, (600, 150), True),
    "5 digits, 4000x1000 px": (5, (4000, 1000), False),
    "9 digits, 900x150 px": (9, (900, 150), False),
}
NUM_FIELDS: Final = 40
PAPER: Final = 240
INK: Final = 20
MARGIN_FRAC: Final = 0.25
TOUCH_INK: Final = 0.5


def field_times() -> dict[str, dict[str, float]]:
    """Milliseconds of processor time of each step, median over 40 fields, for sizes and lengths."""
    crops = [crop.pixels() for crop in digit_crops.load()]
    timer = _Timer(load())
    rows = {}
    with pinned_to(SERVER_CORE):
        for name, (num_digits, size, touching) in SIZES.items():
            times = []
            for number in range(NUM_FIELDS):
                some = [crops[(number * 16 + 41 * step) % len(crops)] for step in range(num_digits)]
                times.append(timer.time(some, _field(some, size, touching=touching)))
            rows[name] = {key: statistics.median(one[key] for one in times) for key in times[0]}
    return rows


class _Timer:
    """Reads fields and crops with one model."""

    def __init__(self, artifact: Artifact) -> None:
        self._classifier, self._policy = Classifier(artifact.onnx_bytes), artifact.policy()
        self._spent: dict[str, float] = {}

    def time(self, crops: list[NDArray[np.uint8]], field: NDArray[np.uint8]) -> dict[str, float]:
        """Milliseconds of each step for the crops' field, and for the crops alone."""
        self._spent = {"find_pieces_ms": 0.0, "inference_ms": 0.0, "read_field_ms": 0.0}
        num_digits, num_pieces = len(crops), 0
        begun = time.thread_time()
        parts = split_field(field, num_digits)
        lattice: Lattice | None = parts.whole
        is_single = None
        while lattice is not None:
            self._add("find_pieces_ms", begun)
            num_pieces += len(lattice.pieces)
            reading, garbage = self._read(lattice, num_digits)
            begun = time.thread_time()
            is_single = find_uncut(
                parts,
                reading,
                garbage,
                is_single,
                least_digits=num_digits,
                garbage_threshold=self._policy.garbage_threshold,
            )
            lattice = None if is_single is None else cut_apart(parts, is_single)
        begun = time.thread_time()
        decide(self._classifier(np.stack([preprocess(crop) for crop in crops])), self._policy)
        self._add("crops_ms", begun)
        return {**self._spent, "num_pieces": num_pieces}

    def _read(
        self, lattice: Lattice, num_digits: int
    ) -> tuple[FieldReading, NDArray[np.floating[Any]]]:
        """The code, and the garbage scores."""
        policy, begun = self._policy, time.thread_time()
        scores = self._classifier(lattice.images)
        begun = self._add("inference_ms", begun)
        reading = read_field(
            lattice,
            softmax(scores.logits, policy.temperature),
            scores.garbage,
            num_digits=(num_digits, num_digits),
            possible=None,
            threshold=policy.threshold,
            garbage_threshold=policy.garbage_threshold,
        )
        self._add("read_field_ms", begun)
        return reading, scores.garbage

    def _add(self, step: str, begun: float) -> float:
        """Add the time since `begun` to a step."""
        now = time.thread_time()
        self._spent[step] = self._spent.get(step, 0.0) + 1e3 * (now - begun)
        return now


def _field(
    crops: list[NDArray[np.uint8]], size: tuple[int, int], *, touching: bool
) -> NDArray[np.uint8]:
    """The crops' digits side by side, dark on light; the first two may touch."""
    images = [preprocess(crop)[0] for crop in crops]
    if touching:
        columns = [np.flatnonzero((image > TOUCH_INK).any(axis=0)) for image in images[:2]]
        images[0] = images[0][:, : columns[0][-1] + 1]
        images[1] = images[1][:, columns[1][0] :]
    ink = np.concatenate(images, axis=1)
    margin = round(MARGIN_FRAC * ink.shape[0])
    picture = Image.fromarray(np.pad(ink, margin)).resize(size, Image.Resampling.BICUBIC)
    grey = PAPER + (INK - PAPER) * np.clip(np.asarray(picture), 0, 1)
    field: NDArray[np.uint8] = np.rint(grey).astype(np.uint8)
    return field
