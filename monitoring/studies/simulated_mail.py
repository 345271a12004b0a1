"""Simulated mail: real MNIST digits, rendered by the scanner simulator, read by the champion.

Needs the MNIST cache that training fills. power.py and demo.py use it; the unit tests do not.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from capture.predictions import Predictions
from capture.record import CaptureRecord, to_uint8
from model import artifact
from model.classifier import Classifier, Scores
from model.decision import BLANK, decide, softmax
from model.errors import BlankCrop
from model.framed import Framed
from model.preprocess import frame
from training.config import DataConfig
from training.data.corruptions import CORRUPTIONS
from training.data.datasets import Mnist, load_mnist
from training.data.render import render_digits

SEVERITY: Final = 3  # an ordinary mail piece, as in training's evaluation
BATCH: Final = 256
Crops = list[NDArray[np.uint8]]
Labels = NDArray[np.uint8]


class Reader:
    """Reads crops with the champion and makes the records that the service would capture."""

    def __init__(self) -> None:
        champion = artifact.load()
        self.version = champion.version
        self.policy = champion.policy()
        self._classifier = Classifier(champion.onnx_bytes)

    def scores(self, images: NDArray[np.float32]) -> Scores:
        """Run the champion on (N, 1, 28, 28) images, in batches."""
        parts = [
            self._classifier(images[start : start + BATCH])
            for start in range(0, len(images), BATCH)
        ]
        return Scores(
            np.concatenate([part.logits for part in parts]),
            np.concatenate([part.garbage for part in parts]),
        )

    def predict(self, crops: Crops, labels: Labels) -> Predictions:
        """Make what training saves for the drift reference; blank crops are left out."""
        kept = [
            (crop, label, framed)
            for crop, label in zip(crops, labels, strict=True)
            if (framed := frame_or_none(crop)) is not None
        ]
        scores = self.scores(np.stack([framed.image for _, _, framed in kept]))
        return Predictions(
            model_version=self.version,
            threshold=self.policy.threshold,
            garbage_threshold=self.policy.garbage_threshold,
            crops=[crop for crop, _, _ in kept],
            images=np.stack([to_uint8(framed.image) for _, _, framed in kept]),
            probs=softmax(scores.logits, self.policy.temperature).astype(np.float32),
            garbage=scores.garbage,
            labels=np.array([label for _, label, _ in kept], np.int64),
        )

    def read(self, crops: Crops, *, site: str, day: date, seed: int) -> list[CaptureRecord]:
        """Make one record for each crop, spread over a day, with plausible stage times."""
        rng = np.random.default_rng(seed)
        framed = [frame_or_none(crop) for crop in crops]
        images = np.stack(
            [np.zeros((1, 28, 28), np.float32) if f is None else f.image for f in framed]
        )
        scores = self.scores(images)
        begin = datetime.combine(day, time(), UTC)
        records = []
        decided = zip(crops, framed, decide(scores, self.policy), strict=True)
        for number, (crop, one, scored) in enumerate(decided):
            moment = begin + timedelta(seconds=float(rng.uniform(0, 86_399)))
            time_us = int(moment.timestamp() * 1e6)
            decision = BLANK if one is None else scored
            inference_ms, queue_ms = 0.06, float(rng.gamma(2, 0.4))
            records.append(
                CaptureRecord(
                    request_id=uuid7(time_us // 1000, rng),
                    index=0,
                    time_us=time_us,
                    site=site,
                    model_version=self.version,
                    digit=decision.digit,
                    confidence=decision.confidence,
                    accepted=decision.accepted,
                    rejected_because=decision.rejected_because,
                    threshold=self.policy.threshold,
                    garbage=float(scores.garbage[number]),
                    probs=tuple(decision.probs),
                    image=None if one is None else to_uint8(one.image),
                    crop=crop,
                    inverted=one is not None and one.inverted,
                    passed_through=one is not None and one.passed_through,
                    num_parts=0 if one is None else one.num_parts,
                    num_dropped=0 if one is None else one.num_dropped,
                    aspect=0.0 if one is None else one.aspect,
                    edges_touched=0 if one is None else one.edges_touched,
                    guard_ms=0.02,
                    decode_ms=0.05,
                    preprocess_ms=0.1,
                    queue_ms=queue_ms,
                    inference_ms=inference_ms,
                    decision_ms=0.01,
                    total_ms=0.18 + inference_ms + queue_ms,
                )
            )
        return records


def frame_or_none(crop: NDArray[np.uint8]) -> Framed | None:
    """Frame a crop as the service does; None when it is blank."""
    try:
        return frame(crop)
    except BlankCrop:
        return None


def uuid7(time_ms: int, rng: np.random.Generator) -> str:
    """Make a version 7 UUID from a given time and generator, so that a run can be repeated."""
    bits = (time_ms << 80) | int.from_bytes(rng.bytes(10), "big")
    bits = bits & ~(0xF << 76) | (7 << 76)
    bits = bits & ~(0x3 << 62) | (2 << 62)
    return str(uuid.UUID(int=bits))


@cache
def mnist() -> Mnist:
    """Load MNIST once."""
    return load_mnist(DataConfig())


def reference_mail() -> tuple[Crops, Labels]:
    """Render holdout digits as ordinary mail: the drift reference is made from these."""
    return render_digits(mnist().holdout, severity=SEVERITY, seed=1)


def ordinary_mail(num: int, seed: int) -> tuple[Crops, Labels]:
    """Render test digits, whose writers the reference has not seen, as ordinary mail."""
    part = mnist().test.take(np.random.default_rng(seed).permutation(10_000)[:num])
    return render_digits(part, severity=SEVERITY, seed=seed)


def spoil(crops: Sequence[NDArray[np.uint8]], name: str, severity: float, seed: int) -> Crops:
    """Apply one of the scanner simulator's corruptions to every crop."""
    rng = np.random.default_rng(seed)
    spoiled = []
    for crop in crops:
        grey = CORRUPTIONS[name](crop.astype(np.float32) / np.float32(255), severity, rng)
        spoiled.append(np.clip(grey * 255, 0, 255).round().astype(np.uint8))
    return spoiled
