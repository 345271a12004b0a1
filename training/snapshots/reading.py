"""A snapshot of the data store as arrays, for validation and training.

Edge: reads a folder or a bucket. Knows nothing about how snapshots are made.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from capture.snapshot_files import SNAPSHOTS, months, read_manifest, read_rows, version_of
from capture.store import Store
from training.data.mnist_files import DataError

SIDE_PX = 28
Strings = NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class MailCrops:
    """Labelled mail, one row a crop."""

    images: NDArray[np.uint8]  # (N, 28, 28), ink bright
    labels: NDArray[np.uint8]  # (N,)
    sites: Strings  # (N,)
    sources: Strings  # (N,) "captures", or the name of an added set
    hows: Strings  # (N,) keyed, audit or import
    whos: Strings  # (N,)
    weights: NDArray[np.float64]  # (N,) 1 / inclusion probability

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> MailCrops:
        """The chosen rows."""
        return MailCrops(
            self.images[index],
            self.labels[index],
            self.sites[index],
            self.sources[index],
            self.hows[index],
            self.whos[index],
            self.weights[index],
        )


@dataclass(frozen=True, slots=True)
class MailSnapshot:
    """One month's snapshot: everything labelled up to the end of that month."""

    train: MailCrops
    test: MailCrops
    version: str
    manifest: dict[str, Any]
    train_ids: Strings  # (N,) READ_ID/CROP_INDEX, of added crops NAME/ROW
    test_ids: Strings


def read(store: Store, as_of: str) -> MailSnapshot:
    """Read a snapshot whole.

    Raises:
        DataError: there is none of this month, or it is damaged.
        StoreError: the store failed.
    """
    manifest = read_manifest(store, as_of)
    if manifest is None:
        there = ", ".join(months(store)) or "none"
        raise DataError(
            f"{store.url}/{SNAPSHOTS} has no snapshot of {as_of}, but: {there}; make it with "
            f"`python -m training snapshot --as-of {as_of}`"
        )
    try:
        train, test = (read_rows(store, manifest, part) for part in ("train", "test"))
        return MailSnapshot(
            to_crops(train),
            to_crops(test),
            version_of(manifest),
            manifest,
            ids_of(train),
            ids_of(test),
        )
    except (ValueError, KeyError) as error:
        raise DataError(f"the snapshot of {as_of} is damaged: {error}") from error


def to_crops(rows: pa.Table) -> MailCrops:
    """Decode the rows of a snapshot's file. Raises ValueError: an image is not 28x28 grey."""
    images = [_image(png) for png in rows["image_png"].to_pylist()]
    text = {
        name: np.array(rows[name].to_pylist(), np.str_) for name in ("site", "source", "how", "who")
    }
    return MailCrops(
        np.array(images, np.uint8).reshape(-1, SIDE_PX, SIDE_PX),
        np.array(rows["label"].to_pylist(), np.uint8),
        text["site"],
        text["source"],
        text["how"],
        text["who"],
        np.array(rows["weight"].to_pylist(), np.float64),
    )


def _image(png: bytes) -> NDArray[np.uint8]:
    image = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
    if image.shape != (SIDE_PX, SIDE_PX):
        raise ValueError(f"an image is {image.shape[1]}x{image.shape[0]} px, not 28x28")
    return image


def ids_of(rows: pa.Table) -> Strings:
    """A name for each row, to find its crop again."""
    return np.array(
        [
            f"{row['read_id'] or row['source']}/{row['crop_index']}"
            for row in rows.select(["read_id", "source", "crop_index"]).to_pylist()
        ],
        np.str_,
    )
