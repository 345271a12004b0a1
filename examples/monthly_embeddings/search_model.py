"""Texts -> the pictures that are most like them. Knows nothing about HTTP."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray
from tokenizers import Tokenizer

from model.champion_files import FileRules, VerifiedFiles
from model.errors import ArtifactRefused
from model.onnx_session import OnnxSession

CHAMPION: Final = Path(".work/examples/monthly_embeddings/champion")
RULES: Final = FileRules(
    names=("manifest.json", "model.onnx", "tokenizer.json", "gallery.npy", "gallery.json"),
    max_bytes=32_000_000,
    manifest_keys=("version", "sha256", "golden"),
)
MAX_TOKENS: Final = 256  # what MiniLM was trained with; later ones are cut off
MAX_MATCHES: Final = 20


class Picture(NamedTuple):
    """One picture of the gallery."""

    name: str
    month: str  # of its arrival


class Match(NamedTuple):
    """A picture that is like a text."""

    picture: Picture
    similarity: float  # cosine


Matches = tuple[Match, ...]


@dataclass(frozen=True, slots=True, eq=False)  # compared by identity
class SearchModel:
    """A champion in service."""

    version: str
    sha256: str
    manifest: dict[str, Any]
    gallery: NDArray[np.float32]  # (N, T), rows of length 1
    pictures: tuple[Picture, ...]
    tokenizer: Any
    session: OnnxSession

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(N, T) float32 of length 1. Raises ModelError."""
        encoded = self.tokenizer.encode_batch(list(texts))
        ids = np.array([one.ids for one in encoded], np.int64)
        mask = np.array([one.attention_mask for one in encoded], np.int64)
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        vectors: NDArray[np.float32] = self.session.run(["vector"], inputs)[0]
        return vectors

    def search(self, texts: Sequence[str]) -> list[Matches]:
        """At most `MAX_MATCHES` pictures for each text, the most like first. Raises ModelError."""
        similarities = self.embed(texts) @ self.gallery.T
        order = np.argsort(-similarities, axis=1, kind="stable")[:, :MAX_MATCHES]
        return [
            tuple(Match(self.pictures[place], float(row[place])) for place in places)
            for row, places in zip(similarities, order, strict=True)
        ]


def load_model(files: VerifiedFiles) -> SearchModel:
    """Load session, tokenizer and gallery of verified files.

    Raises:
        ArtifactRefused: the gallery is not one of the model.
        ModelError: onnxruntime refuses the model.
    """
    gallery = np.load(io.BytesIO(files.files["gallery.npy"]), allow_pickle=False)
    pictures = tuple(Picture(**row) for row in orjson.loads(files.files["gallery.json"]))
    tokenizer = Tokenizer.from_str(files.files["tokenizer.json"].decode())
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()
    session = OnnxSession(files.onnx_bytes)
    width = session.outputs.get("vector", [0])[-1]
    if gallery.shape != (len(pictures), width):
        raise ArtifactRefused(
            f"gallery.npy is {gallery.shape}; ({len(pictures)}, {width}) is expected"
        )
    identity = (files.version, files.sha256, files.manifest)
    return SearchModel(*identity, gallery, pictures, tokenizer, session)


def drift_features(text: str, matches: Matches) -> dict[str, float]:
    """Numbers of a text and its matches whose drift is measured."""
    return {
        "num_chars": float(len(text)),
        "best": matches[0].similarity,
        "lead": matches[0].similarity - matches[-1].similarity,
    }
