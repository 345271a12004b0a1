"""Which crops a candidate answers better or worse than the champion, with their pictures.

They are the rendered validation crops whose answers `evaluate` keeps for the drift reference: no
mail, and neither model was fitted on them. Edge: reads the candidate's file and the champion.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from capture.predictions import Predictions, read_predictions
from model import artifact
from model.classifier import Classifier
from model.decision import Decision, decide
from model.errors import ArtifactRefused, ModelError

PREDICTIONS: Final = "predictions.npz"
MAX_SHOWN: Final = 24  # of lost crops, and of won ones
_BATCH: Final = 512


@dataclass(frozen=True, slots=True)
class Answer:
    """What one model says of a crop."""

    digit: int
    confidence: float
    accepted: bool

    def worth(self, label: int) -> int:
        """The larger the better: a wrong digit that is accepted reaches the wrong address."""
        right = self.digit == label
        if self.accepted:
            return 3 if right else 0
        return 2 if right else 1


@dataclass(frozen=True, slots=True)
class ChangedCrop:
    """A crop that one of the two answers better."""

    number: int  # names its picture
    png: bytes  # as sent
    label: int
    champion: Answer
    candidate: Answer

    @property
    def gain(self) -> int:
        """Above 0 where the candidate is better."""
        return self.candidate.worth(self.label) - self.champion.worth(self.label)


@dataclass(frozen=True, slots=True)
class Changed:
    """All that changed, the worst and the best of it with pictures."""

    num: int  # crops that both read
    num_lost: int
    num_won: int
    lost: tuple[ChangedCrop, ...]
    won: tuple[ChangedCrop, ...]

    def crop(self, number: int) -> ChangedCrop | None:
        """The crop of a picture's address."""
        return next((one for one in (*self.lost, *self.won) if one.number == number), None)


def find(folder: Path, champion: Path) -> Changed | str:
    """Compare a candidate with the champion; a sentence where that cannot be done.

    Args:
        folder: of the candidate.
        champion: the folder of the served model.
    """
    path = folder / PREDICTIONS
    try:
        mark = path.stat()
        served = artifact.load(champion)
        return _compare(path, mark.st_mtime_ns, mark.st_size, champion, served.sha256)
    except FileNotFoundError:
        return f"{path} is missing: `python -m training evaluate --work {folder}` writes it."
    except ArtifactRefused as error:
        return f"The champion cannot be read: {error}"
    except (OSError, ValueError, KeyError, ModelError) as error:
        return f"{path} cannot be read: {error}; run evaluate again."


@lru_cache(maxsize=4)
def _compare(path: Path, _changed_ns: int, _size: int, champion: Path, _sha256: str) -> Changed:
    """Keyed by all that the result depends on; reading 5,000 crops takes most of a second."""
    kept = read_predictions(path)
    served = artifact.load(champion)
    policy, reader = served.policy(), Classifier(served.onnx_bytes)
    old = [
        one
        for start in range(0, len(kept.images), _BATCH)
        for one in decide(reader(_batch(kept.images[start : start + _BATCH])), policy)
    ]
    new = _candidate_answers(kept)
    found = [
        (number, first, second)
        for number, (first, second) in enumerate(zip(map(_answer, old), new, strict=True))
        if first.worth(int(kept.labels[number])) != second.worth(int(kept.labels[number]))
    ]
    crops = [
        ChangedCrop(number, _png(kept.crops[number]), int(kept.labels[number]), first, second)
        for number, first, second in found
    ]
    lost = sorted((one for one in crops if one.gain < 0), key=_order)
    won = sorted((one for one in crops if one.gain > 0), key=_order)
    return Changed(
        num=len(kept.images),
        num_lost=len(lost),
        num_won=len(won),
        lost=tuple(lost[:MAX_SHOWN]),
        won=tuple(won[:MAX_SHOWN]),
    )


def _batch(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return images[:, None].astype(np.float32) * np.float32(1 / 255)


def _answer(decision: Decision) -> Answer:
    return Answer(
        -1 if decision.digit is None else decision.digit, decision.confidence, decision.accepted
    )


def _candidate_answers(kept: Predictions) -> list[Answer]:
    confidence = kept.probs.max(1)
    accepted = (confidence >= kept.threshold) & (kept.garbage <= kept.garbage_threshold)
    digits: Sequence[int] = kept.probs.argmax(1).tolist()
    return [
        Answer(digit, float(sure), bool(is_accepted))
        for digit, sure, is_accepted in zip(digits, confidence, accepted, strict=True)
    ]


def _order(one: ChangedCrop) -> tuple[int, float]:
    """The largest change first, then the most confident."""
    return -abs(one.gain), -max(one.champion.confidence, one.candidate.confidence)


def _png(crop: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(crop).save(file, "PNG")
    return file.getvalue()
