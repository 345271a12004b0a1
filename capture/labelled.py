"""Labelled captures as arrays, for `monitoring labelled`; training reads snapshots.

Knows nothing about training.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from capture.archive import KEY
from capture.erasure import fingerprint
from capture.kept_crops import read_labelled_pictures
from capture.label_event import DIGITS
from capture.labels import read_labels
from capture.store import Store


@dataclass(frozen=True, slots=True)
class Labelled:
    """Rows in the order of their ids' hashes; no id is in it."""

    images: NDArray[np.uint8]  # (N, 28, 28), what the model saw
    labels: NDArray[np.uint8]  # (N,)
    bucket: NDArray[np.uint8]  # (N,) hash of the read, so that its crops are split together

    def __len__(self) -> int:
        return len(self.labels)


def read(store: Store) -> Labelled:
    """Read every captured crop whose label is settled and a digit.

    Erased requests and blank crops are left out.
    """
    labels = read_labels(store)
    labels = labels[labels["label"].isin(DIGITS)]
    if labels.empty:
        return _pack([], [], [])
    prints = labels["read_id"].map(fingerprint)
    labels = labels.assign(print=prints).sort_values(["print", "crop_index"])
    keys = list(labels[KEY].itertuples(index=False, name=None))
    pictures = read_labelled_pictures(store, keys)["image_png"].dropna()
    found = labels[[key in pictures.index for key in keys]]
    images = [
        np.asarray(Image.open(io.BytesIO(pictures.loc[key])).convert("L"))
        for key in found[KEY].itertuples(index=False, name=None)
    ]
    return _pack(
        images, found["label"].astype(int).tolist(), [int(one[:2], 16) for one in found["print"]]
    )


def _pack(images: list[NDArray[np.uint8]], labels: list[int], bucket: list[int]) -> Labelled:
    return Labelled(
        np.array(images, np.uint8).reshape(-1, 28, 28),
        np.array(labels, np.uint8),
        np.array(bucket, np.uint8),
    )
