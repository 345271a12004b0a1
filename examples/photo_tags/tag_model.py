"""Images -> tags: the verified ONNX file in a session. Knows nothing about HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from examples.photo_tags.photo_input import SIDE_PX, Scaling
from model.champion_files import FileRules, VerifiedFiles
from model.errors import ArtifactRefused
from model.onnx_session import OnnxSession

CHAMPION: Final = Path(".work/examples/photo_tags/champion")
RULES: Final = FileRules(
    names=("manifest.json", "model.onnx", "golden.jpg"),
    max_bytes=64_000_000,  # ResNet18 has 12 MB as int8, 47 MB as fp32
    manifest_keys=("version", "sha256", "classes", "scaling", "golden"),
)
MAX_TAGS: Final = 5
MIN_CONFIDENCE: Final = 0.01  # a tag that is less probable is left out


class Tag(NamedTuple):
    """One tag of a photo."""

    tag: str
    confidence: float


@dataclass(frozen=True, slots=True, eq=False)  # compared by identity
class TagModel:
    """A champion in service."""

    version: str
    sha256: str
    manifest: dict[str, Any]
    scaling: Scaling
    golden_jpg: bytes
    session: OnnxSession

    def probabilities(self, images: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """(N, classes) float32 of N images (3, 224, 224).

        Raises:
            ModelError: inference failed.
        """
        logits = self.session.run(["logits"], {"photo": np.stack(images)})[0]
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        probs: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
        return probs

    def tag(self, images: Sequence[NDArray[np.float32]]) -> list[tuple[Tag, ...]]:
        """One to five tags of each image, the most probable first. Raises ModelError."""
        return [self._tags(row) for row in self.probabilities(images)]

    def _tags(self, probs: NDArray[np.float32]) -> tuple[Tag, ...]:
        places = np.argsort(-probs, kind="stable")[:MAX_TAGS]
        classes = self.manifest["classes"]
        tags = [Tag(classes[place], float(probs[place])) for place in places]
        return (tags[0], *(one for one in tags[1:] if one.confidence >= MIN_CONFIDENCE))


def load_model(files: VerifiedFiles) -> TagModel:
    """Load the session of verified files.

    Raises:
        ArtifactRefused: its input or output is not what the manifest says.
        ModelError: onnxruntime refuses it.
    """
    session = OnnxSession(files.onnx_bytes)
    found = (session.inputs.get("photo", [])[1:], session.outputs.get("logits", [])[1:])
    expected = ([3, SIDE_PX, SIDE_PX], [len(files.manifest["classes"])])
    if found != expected:
        raise ArtifactRefused(f"the model's input and output are {found}; {expected} are expected")
    given = files.manifest["scaling"]
    mean, std = (
        tuple(value) if isinstance(value, list) else value
        for value in (given["mean"], given["std"])
    )
    scaling = Scaling(int(given["short_side_px"]), mean, std)
    golden = files.files["golden.jpg"]
    return TagModel(files.version, files.sha256, files.manifest, scaling, golden, session)
