"""Read a stored crop again with the model that answered it, and compare to the bit."""

from __future__ import annotations

import io
import re
import threading
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from capture.one_read import Row
from capture.record import to_uint8
from capture.store import MissingKey, Store
from console.visit import Console
from model.artifact import SERVED_FILES, Artifact, load, verify
from model.classifier import Classifier
from model.decision import BLANK, Decision, Policy, decide
from model.decode import decode
from model.errors import ArtifactRefused, BlankCrop
from model.preprocess import frame

_VERSION: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")
_NOT_THE_MODELS: Final = ("site_on_hold", "code_rejected")  # reasons that no model gives
_MAX_LOADED: Final = 4  # models in memory, about 2 MB each


@dataclass(frozen=True, slots=True)
class KnownModel:
    """The model of a version."""

    artifact: Artifact
    classifier: Classifier
    is_champion: bool

    def target_of(self, threshold: float) -> float | None:
        """The error target whose threshold this is; None if it is none of the model's table."""
        found = [
            float(row["error_target"])
            for row in self.artifact.manifest["thresholds"]
            if np.float32(row["threshold"]) == np.float32(threshold)
        ]
        return max(found, default=None)

    def policy(self, threshold: float) -> Policy:
        """How this model decided with a threshold that a record has, which is rounded."""
        target = self.target_of(threshold)
        policy = self.artifact.policy(target)
        exact = threshold if target is None else policy.threshold
        return Policy(policy.temperature, exact, policy.garbage_threshold)


@dataclass(slots=True)
class Models:
    """Finds the model of a version: the champion, or one that the model store has kept."""

    _loaded: dict[str, Classifier] = field(default_factory=dict)  # by sha256
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, console: Console, version: str) -> KnownModel | str:
        """The model; or why it is not there."""
        try:
            champion: Artifact | None = load(console.settings.champion)
        except ArtifactRefused:
            champion = None
        is_champion = champion is not None and champion.version == version
        try:
            artifact = champion if is_champion else _from_store(console.models, version)
            if artifact is None:
                return (
                    f"Version {version} is not the champion, and {console.models.url} has no model "
                    "of that version; promote keeps every champion there (--model-store)."
                )
            return KnownModel(artifact, self._classifier(artifact), is_champion)
        except (ArtifactRefused, OSError) as error:
            return f"Version {version} cannot be used: {error}."

    def _classifier(self, artifact: Artifact) -> Classifier:
        with self._lock:
            if artifact.sha256 not in self._loaded:
                if len(self._loaded) >= _MAX_LOADED:
                    self._loaded.pop(next(iter(self._loaded)))
                self._loaded[artifact.sha256] = Classifier(artifact.onnx_bytes)
            return self._loaded[artifact.sha256]


def _from_store(models: Store, version: str) -> Artifact | None:
    """A kept champion; None if the store does not have it."""
    if not _VERSION.fullmatch(version):
        return None
    files = {}
    for name in SERVED_FILES:
        try:
            files[name] = models.get(f"{version}/{name}")
        except MissingKey:
            continue
    return verify(files) if files else None


@dataclass(frozen=True, slots=True)
class Answer:
    """What one reading of a crop says."""

    digit: int | None
    confidence: np.float32
    garbage: np.float32
    accepted: bool

    @property
    def confidence_bits(self) -> str:
        """The four bytes of the confidence, as a record has them."""
        return f"{int(self.confidence.view(np.uint32)):08x}"

    @property
    def garbage_bits(self) -> str:
        """The four bytes of the garbage score."""
        return f"{int(self.garbage.view(np.uint32)):08x}"


@dataclass(frozen=True, slots=True)
class Reread:
    """A crop's stored answer beside the one that it has now."""

    stored: Answer
    again: Answer
    is_from_crop: bool  # else from the 28x28 image, which is rounded to 256 grey levels
    is_same_image: bool  # framing the crop again gave the stored image
    is_held: bool  # not accepted for its site or its field's code: no matter what the model said

    @property
    def is_same_answer(self) -> bool:
        """Whether digit and acceptance are the same."""
        return self.stored.digit == self.again.digit and (
            self.is_held or self.stored.accepted == self.again.accepted
        )

    @property
    def is_same_bits(self) -> bool:
        """Whether confidence and garbage score are the same, too, to the last bit."""
        return (
            self.is_same_answer
            and self.is_same_image
            and self.stored.confidence_bits == self.again.confidence_bits
            and self.stored.garbage_bits == self.again.garbage_bits
        )


def reread(row: Row, known: KnownModel) -> Reread | None:
    """Read a crop again; None where neither crop nor image is kept.

    Raises:
        CropError, ModelError: it cannot be read any more.
    """
    is_from_crop = (
        row["crop_png"] is not None
        and row["crop_scale"] in (None, 1)
        and not row.get("is_field")  # its image is made from the whole field
    )
    stored_image = None if row["image_png"] is None else _pixels(row["image_png"])
    if is_from_crop:
        image = _framed(row["crop_png"])
    elif stored_image is not None:
        image = (stored_image.astype(np.float32) / np.float32(255)).reshape(1, 28, 28)
    else:
        return None
    decision, garbage = _answer(image, known, row["threshold"])
    if image is None or stored_image is None:
        is_same_image = image is stored_image
    else:
        is_same_image = np.array_equal(to_uint8(image.copy()), stored_image)
    minus_infinity = -np.inf if row["garbage"] is None else row["garbage"]
    return Reread(
        stored=Answer(
            row["digit"], np.float32(row["confidence"]), np.float32(minus_infinity), row["accepted"]
        ),
        again=Answer(
            decision.digit, np.float32(decision.confidence), np.float32(garbage), decision.accepted
        ),
        is_from_crop=is_from_crop,
        is_same_image=is_same_image,
        is_held=row["rejected_because"] in _NOT_THE_MODELS,
    )


def _framed(png: bytes) -> NDArray[np.float32] | None:
    try:
        return frame(decode(png)).image
    except BlankCrop:
        return None


def _answer(
    image: NDArray[np.float32] | None, known: KnownModel, threshold: float
) -> tuple[Decision, float]:
    if image is None:
        return BLANK, -np.inf
    scores = known.classifier(image[np.newaxis])
    return decide(scores, known.policy(threshold))[0], float(scores.garbage[0])


def _pixels(png: bytes) -> NDArray[Any]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"))
