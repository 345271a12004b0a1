"""The work that every peer does: PNG bytes -> image -> scores -> answer.

Every peer decodes with `model.decode`, frames with `model.preprocess` and runs the champion on one
ONNX Runtime thread. Only the serving stack differs. The exception is BentoML's `batchable=True`,
which sends decoded pictures from one process to another.
"""

import numpy as np
from numpy.typing import NDArray

from model.artifact import load
from model.classifier import Classifier
from model.decision import Decision, decide
from model.decode import decode
from model.preprocess import preprocess

TOP = 5


class Reader:
    """Reads crops with the champion."""

    def __init__(self) -> None:
        artifact = load()
        self.version = artifact.version
        self.policy = artifact.policy()
        self.classifier = Classifier(artifact.onnx_bytes)
        self.classifier.warm_up()

    def frame(self, png: bytes) -> NDArray[np.float32]:
        """PNG bytes -> (1, 28, 28) float32."""
        return preprocess(decode(png))

    def answers(self, batch: NDArray[np.float32]) -> list[dict[str, object]]:
        """(B, 1, 28, 28) -> B answers."""
        return [self._answer(read) for read in decide(self.classifier(batch), self.policy)]

    def read(self, png: bytes) -> dict[str, object]:
        """PNG bytes -> one answer."""
        return self.answers(self.frame(png)[None])[0]

    def _answer(self, read: Decision) -> dict[str, object]:
        return {
            "digit": read.digit,
            "confidence": read.confidence,
            "accepted": read.accepted,
            "candidates": [{"digit": d, "probability": read.probs[d]} for d in read.ranking[:TOP]],
            "model_version": self.version,
        }
