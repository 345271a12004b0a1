"""Reads a crop on this machine, with the code and the model that the service has.

Both are in the wheel as `digitline._model`. Knows nothing about networks and spools.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Self

from digitline.answers import Candidate, Reading
from digitline.exceptions import CropRefused, OfflineUnavailable, Problem

_MODULES: Final = ("artifact", "classifier", "decision", "decode", "errors", "preprocess")
_TOP_K: Final = 5  # as the service answers when it is not told another number
_UNSUPPORTED, _UNREADABLE = 415, 422


@dataclass(frozen=True, slots=True)
class Rules:
    """What makes an answer: the weights, and what is accepted. From `GET /v1/model`."""

    sha256: str  # of the ONNX file
    temperature: float
    threshold: float
    garbage_threshold: float

    @classmethod
    def of_service(cls, model: Mapping[str, Any]) -> Self:
        """The rules in the body of `GET /v1/model`.

        Raises:
            KeyError, TypeError, ValueError: the body has another shape.
        """
        in_force = model["thresholds"]
        return cls(
            sha256=str(model["sha256"]),
            temperature=float(in_force["temperature"]),
            threshold=float(in_force["confidence"]),
            garbage_threshold=float(in_force["garbage"]),
        )


@dataclass(frozen=True, slots=True)
class PackedGolden:
    """The crop whose answer is known, and the model that it is known of; needs no extra."""

    png: bytes
    digit: int
    min_confidence: float
    model_version: str
    model_sha256: str


def packed_golden() -> PackedGolden | None:
    """The golden crop of the packed model; None: this installation has none."""
    try:
        package = import_module("digitline._model")
    except ModuleNotFoundError:
        return None
    champion = Path(str(package.__file__)).parent / "champion"
    manifest = json.loads((champion / "manifest.json").read_bytes())
    return PackedGolden(
        png=(champion / manifest["golden"]["file"]).read_bytes(),
        digit=int(manifest["golden"]["digit"]),
        min_confidence=float(manifest["golden"]["min_confidence"]),
        model_version=str(manifest["version"]),
        model_sha256=str(manifest["sha256"]),
    )


class LocalReader:
    """The packed model, verified by its hash and proved on its golden crop.

    It accepts by the model's default error target, until it is told the service's.

    Raises:
        OfflineUnavailable: a package of `digitline[offline]` or the packed model is missing, the
            model is not what was packed, or it does not read its golden crop as it must.
    """

    def __init__(self) -> None:
        self._model = _import_model()
        errors = self._model["errors"]
        try:
            self._artifact = self._model["artifact"].load()
            self._policy = self._artifact.policy()
            self._classifier = self._model["classifier"].Classifier(self._artifact.onnx_bytes)
        except errors.ModelError as error:
            raise OfflineUnavailable(f"the packed model is refused: {error}") from error
        self.model_version: str = self._artifact.version
        self._prove()

    def set_error_target(self, error_target: float) -> None:
        """Accept by another error target: the largest share of accepted reads that may be wrong.

        Raises:
            OfflineUnavailable: no threshold of the model reaches it.
        """
        try:
            self._policy = self._artifact.policy(error_target)
        except self._model["errors"].ModelError as error:
            raise OfflineUnavailable(str(error)) from error

    @property
    def golden_png(self) -> bytes:
        """A crop whose answer is known."""
        return bytes(self._artifact.golden.png)

    @property
    def rules(self) -> Rules:
        """What this reader accepts by."""
        return Rules(
            sha256=self._artifact.sha256,
            temperature=self._policy.temperature,
            threshold=self._policy.threshold,
            garbage_threshold=self._policy.garbage_threshold,
        )

    def read(self, crop: bytes, request_id: str, top_k: int = _TOP_K) -> Reading:
        """Read one crop.

        Args:
            crop: a PNG or JPEG file.
            request_id: of the read.
            top_k: candidates in the answer, 1 to 5.

        Returns:
            The reading; its read id is empty, because only the service makes read ids.

        Raises:
            CropRefused: it cannot be read; with the status and text that the service has for it.
            OfflineUnavailable: the model failed.
        """
        started = time.perf_counter()
        errors = self._model["errors"]
        try:
            decision = self._decide(self._model["decode"].decode(crop))
        except errors.CropError as error:
            raise CropRefused(_problem(error, errors, request_id)) from error
        except errors.ModelError as error:
            raise OfflineUnavailable(f"the local model failed: {error}") from error
        return Reading(
            digit=decision.digit,
            confidence=decision.confidence,
            accepted=decision.accepted,
            rejected_because=decision.rejected_because,
            candidates=tuple(
                Candidate(digit, decision.probs[digit]) for digit in decision.ranking[:top_k]
            ),
            read_id="",
            request_id=request_id,
            model_version=self.model_version,
            took_ms=(time.perf_counter() - started) * 1e3,
            source="local",
        )

    def _decide(self, crop: Any) -> Any:
        try:
            framed = self._model["preprocess"].frame(crop)
        except self._model["errors"].BlankCrop:
            return self._model["decision"].BLANK
        scores = self._classifier(framed.image[None])
        return self._model["decision"].decide(scores, self._policy)[0]

    def _prove(self) -> None:
        golden = self._artifact.golden
        reading = self.read(golden.png, "golden")
        if reading.digit != golden.digit or reading.confidence < golden.min_confidence:
            raise OfflineUnavailable(
                f"the packed model reads its golden crop as {reading.digit} at "
                f"{reading.confidence:.3f}; {golden.digit} at >= {golden.min_confidence} is "
                "expected. Install the wheel again"
            )
        self._classifier.warm_up()


def _import_model() -> dict[str, ModuleType]:
    try:
        return {name: import_module(f"digitline._model.{name}") for name in _MODULES}
    except ModuleNotFoundError as error:
        if error.name == "digitline._model":
            raise OfflineUnavailable(
                "this installation has no packed model; install a built wheel, not the sources"
            ) from error
        raise OfflineUnavailable(
            f"reading offline needs {error.name}: pip install 'digitline[offline]'"
        ) from error


def _problem(error: Exception, errors: ModuleType, request_id: str) -> Problem:
    is_type = isinstance(error, errors.UnsupportedFormat)
    return Problem(
        status=_UNSUPPORTED if is_type else _UNREADABLE,
        type=f"urn:digitline:problem:{'unsupported-type' if is_type else 'unreadable-crop'}",
        title="The body's type is not supported" if is_type else "The crop cannot be read",
        detail=str(error),
        request_id=request_id,
    )
