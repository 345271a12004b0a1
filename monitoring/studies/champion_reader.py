"""Reads crops with the champion, in batches and without a service, as the service would record it.

Knows nothing about where the crops come from.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from capture.predictions import Predictions
from capture.record import CaptureRecord, to_uint8
from model import artifact
from model.artifact import Artifact
from model.classifier import Classifier, Scores
from model.decision import BLANK, Decision, decide, softmax
from model.errors import BlankCrop
from model.framed import Framed
from model.preprocess import frame
from serving.messages import Reading

BATCH: Final = 256
Crops = list[NDArray[np.uint8]]
Labels = NDArray[np.uint8]
_INFERENCE_MS: Final = 0.06  # plausible stage times; nothing is measured here
_OTHER_STAGES_MS: Final = 0.18


@dataclass(frozen=True, slots=True)
class Sent:
    """When a crop was sent, and in which read."""

    read_id: str
    request_id: str
    index: int
    time_us: int
    site: str
    deadline_us: int | None = None  # when the letter can wait no longer


class Reader:
    """Reads crops with a model and makes the records that the service would capture.

    Args:
        champion: the model; None is the shipped one.
    """

    def __init__(self, champion: Artifact | None = None) -> None:
        champion = champion or artifact.load()
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

    def answer(self, crops: Crops) -> list[Reading]:
        """Read crops as the service does; their times are 0."""
        framed = [frame_or_none(crop) for crop in crops]
        blank = np.zeros((1, 28, 28), np.float32)
        scores = self.scores(np.stack([blank if one is None else one.image for one in framed]))
        decided = zip(
            crops, framed, decide(scores, self.policy), scores.garbage.tolist(), strict=True
        )
        return [
            Reading(crop, None, None, BLANK, -np.inf, 0, 0, 0, 0)
            if one is None
            else Reading(crop, one, one.image, decision, garbage, 0, 0, 0, 0)
            for crop, one, decision, garbage in decided
        ]

    def read(self, crops: Crops, *, site: str, day: date, seed: int) -> list[CaptureRecord]:
        """Make one record for each crop, spread over a day, with plausible stage times."""
        rng = np.random.default_rng(seed)
        begin = datetime.combine(day, time(), UTC)
        records = []
        for reading in self.answer(crops):
            moment = begin + timedelta(seconds=float(rng.uniform(0, 86_399)))
            time_us = int(moment.timestamp() * 1e6)
            read_id = uuid7(time_us // 1000, rng)
            sent = Sent(read_id, read_id, 0, time_us, site)
            records.append(self.record(reading, sent, queue_ms=float(rng.gamma(2, 0.4))))
        return records

    def record(self, reading: Reading, sent: Sent, *, queue_ms: float) -> CaptureRecord:
        """What the service would capture of one reading."""
        decision: Decision = reading.decision
        framed = reading.framed
        return CaptureRecord(
            read_id=sent.read_id,
            request_id=sent.request_id,
            index=sent.index,
            time_us=sent.time_us,
            deadline_us=sent.deadline_us,
            site=sent.site,
            model_version=self.version,
            digit=decision.digit,
            confidence=decision.confidence,
            accepted=decision.accepted,
            rejected_because=decision.rejected_because,
            threshold=self.policy.threshold,
            garbage=reading.garbage,
            probs=tuple(decision.probs),
            image=None if framed is None else to_uint8(framed.image),
            crop=reading.crop,
            inverted=framed is not None and framed.inverted,
            passed_through=framed is not None and framed.passed_through,
            num_parts=0 if framed is None else framed.num_parts,
            num_dropped=0 if framed is None else framed.num_dropped,
            aspect=0.0 if framed is None else framed.aspect,
            edges_touched=0 if framed is None else framed.edges_touched,
            guard_ms=0.02,
            decode_ms=0.05,
            preprocess_ms=0.1,
            queue_ms=queue_ms,
            inference_ms=_INFERENCE_MS,
            decision_ms=0.01,
            total_ms=_OTHER_STAGES_MS + _INFERENCE_MS + queue_ms,
        )


def expected_reject_share(champion: Artifact) -> float:
    """Of its validation digits, at its default error target."""
    manifest = champion.manifest
    accepted_frac: float = next(
        row["accepted_frac"]
        for row in manifest["thresholds"]
        if row["error_target"] == manifest["default_error_target"]
    )
    return 1 - accepted_frac


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
