"""Texts -> embeddings: tokenizer and verified ONNX file. Knows nothing about HTTP."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import Tokenizer

from model.champion_files import FileRules, VerifiedFiles
from model.errors import ArtifactRefused, ModelError

CHAMPION: Final = Path(".work/examples/product_similarity/champion")
RULES: Final = FileRules(
    names=("manifest.json", "model.onnx", "tokenizer.json", "clusters.npy"),
    max_bytes=32_000_000,
    manifest_keys=("version", "sha256", "golden", "tokenizer_sha256"),
)
NUM_DIMENSIONS: Final = 384
MAX_TOKENS: Final = 256  # what the model was trained with; later ones are cut off
TOGETHER: Final = 8  # texts of about one length: in a batch of 32 padding doubles the tokens
_LOG_ERRORS_ONLY: Final = 3

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)  # compared by identity
class TextEmbedder:
    """A champion in service."""

    version: str
    sha256: str
    manifest: dict[str, Any]
    clusters: Vector  # (K, 384), of the reference's texts; what drift is measured along
    tokenizer: Any
    session: Any

    def embed(self, texts: Sequence[str]) -> Vector:
        """(N, 384) float32 of length 1; a text's embedding is the same in any batch.

        Raises:
            ModelError: inference failed.
        """
        order = np.argsort([len(text) for text in texts], kind="stable")
        vectors = np.empty((len(texts), NUM_DIMENSIONS), np.float32)
        for start in range(0, len(texts), TOGETHER):
            places = order[start : start + TOGETHER]
            vectors[places] = self._embed([texts[place] for place in places])
        return vectors

    def _embed(self, texts: Sequence[str]) -> Vector:
        encoded = self.tokenizer.encode_batch(list(texts))
        ids = np.array([one.ids for one in encoded], np.int64)
        mask = np.array([one.attention_mask for one in encoded], np.int64)
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        try:
            states = self.session.run(["last_hidden_state"], inputs)[0]
        except Exception as error:  # onnxruntime's own exceptions share no public base
            raise ModelError(f"inference failed on {len(texts)} texts: {error}") from error
        sums = (states * mask[..., None]).sum(axis=1)
        vectors: Vector = (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)
        return vectors


def load_model(files: VerifiedFiles) -> TextEmbedder:
    """Load tokenizer and session of verified files.

    Raises:
        ArtifactRefused: the tokenizer or the clusters are not those of the manifest.
        ModelError: onnxruntime refuses the model.
    """
    text = files.files["tokenizer.json"]
    found = hashlib.sha256(text).hexdigest()
    if found != files.manifest["tokenizer_sha256"]:
        raise ArtifactRefused(
            f"tokenizer.json has sha256 {found} but manifest.json says "
            f"{files.manifest['tokenizer_sha256']}; promote again"
        )
    clusters = np.load(io.BytesIO(files.files["clusters.npy"]), allow_pickle=False)
    if clusters.ndim != 2 or clusters.shape[1] != NUM_DIMENSIONS:
        raise ArtifactRefused(f"clusters.npy is {clusters.shape}, not (K, {NUM_DIMENSIONS})")
    tokenizer = Tokenizer.from_str(text.decode())
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # other cores run other workers
    options.log_severity_level = _LOG_ERRORS_ONLY
    try:
        session = ort.InferenceSession(
            files.onnx_bytes, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's own exceptions share no public base
        raise ModelError(f"onnxruntime refuses the model: {error}") from error
    identity = (files.version, files.sha256, files.manifest)
    return TextEmbedder(*identity, clusters, tokenizer, session)


def nearest_cluster(vector: Vector, clusters: Vector) -> tuple[int, NDArray[np.float32]]:
    """The nearest cluster's number, and the similarity with each."""
    similarities = clusters @ vector
    return int(similarities.argmax()), similarities


def drift_features(text: str, similarities: NDArray[np.float32]) -> dict[str, float]:
    """Numbers of an embedding whose drift is measured: how near it is to each cluster."""
    near = {f"cluster_{place}": float(one) for place, one in enumerate(similarities)}
    return {"num_chars": float(len(text)), **near}
