"""Texts -> sections: the verified ONNX file in a session. Knows nothing about HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from model.champion_files import FileRules, VerifiedFiles
from model.errors import ArtifactRefused
from model.onnx_session import OnnxSession

CHAMPION: Final = Path(__file__).parent / "champion"
RULES: Final = FileRules(
    names=("manifest.json", "model.onnx"),
    max_bytes=5_000_000,
    manifest_keys=("version", "sha256", "classes", "golden"),
    domains=("ai.onnx.ml", "com.microsoft"),  # LinearClassifier; Tokenizer
)


class Section(NamedTuple):
    """One answer."""

    section: str
    confidence: float


@dataclass(frozen=True, slots=True, eq=False)  # compared by identity
class SectionModel:
    """A champion in service."""

    version: str
    sha256: str
    manifest: dict[str, Any]
    session: OnnxSession

    def classify(self, texts: Sequence[str]) -> list[Section]:
        """The most probable section of each text.

        Raises:
            ModelError: inference failed.
        """
        column = np.array(texts, dtype=object).reshape(-1, 1)
        labels, probs = self.session.run(["label", "probabilities"], {"text": column})
        tops = probs.max(axis=1).tolist()
        return [Section(str(label), top) for label, top in zip(labels, tops, strict=True)]


def load_model(files: VerifiedFiles) -> SectionModel:
    """Load the session of verified files.

    Raises:
        ArtifactRefused: its outputs are not those of the manifest.
        ModelError: onnxruntime refuses it.
    """
    session = OnnxSession(files.onnx_bytes)
    if session.outputs.get("probabilities", [0])[-1] != len(files.manifest["classes"]):
        raise ArtifactRefused(
            f"the model's outputs {session.outputs} are not the manifest's classes"
        )
    return SectionModel(files.version, files.sha256, files.manifest, session)
