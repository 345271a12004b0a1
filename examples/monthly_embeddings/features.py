"""Features of arrived pairs by the frozen networks, kept in the store: a month is embedded once.

A month's are under `features/2026-05-HASH-NETWORKS.npz`. Edge: reads and writes a store.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from capture.store import MissingKey, Store
from examples.monthly_embeddings.pairs import Arrived
from examples.monthly_embeddings.projection import Vector


@dataclass(frozen=True, slots=True)
class Towers:
    """The frozen networks."""

    name: str  # another one for other weights
    images: Callable[[Sequence[bytes]], Vector]  # files -> (N, P)
    texts: Callable[[Sequence[str]], Vector]  # (N, T) of length 1


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Of N pairs."""

    images: Vector  # (N, P)
    texts: Vector  # (N, T)


def features_of(months: Sequence[Arrived], towers: Towers, store: Store) -> Features:
    """Those of all months' pairs, in order. Raises StoreError."""
    parts = [_of_month(one, towers, store) for one in months]
    images, texts = ([getattr(one, name) for one in parts] for name in ("images", "texts"))
    return Features(np.concatenate(images), np.concatenate(texts))


def _of_month(month: Arrived, towers: Towers, store: Store) -> Features:
    key = f"features/{month.month}-{month.sha256[:16]}-{towers.name}.npz"
    try:
        with np.load(io.BytesIO(store.get(key)), allow_pickle=False) as kept:
            return Features(kept["images"], kept["texts"])
    except MissingKey:
        made = Features(
            towers.images([pair.image for pair in month.pairs]),
            towers.texts([pair.text for pair in month.pairs]),
        )
    content = io.BytesIO()
    np.savez(content, images=made.images, texts=made.texts)
    store.put(key, content.getvalue(), content_type="application/octet-stream")
    return made
