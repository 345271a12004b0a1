"""A snapshot of made crops, for tests that only read one."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from capture.snapshot_files import SCHEMA
from capture.store import Store
from training.snapshots.writing import Written, write

TIME = datetime(2026, 11, 5, tzinfo=UTC)


def png_of(image: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def rows_of(
    images: NDArray[np.uint8],
    labels: Sequence[int] | NDArray[np.uint8],
    *,
    sites: Sequence[str] = ("bonn-1", "koeln-1"),
    how: str = "keyed",
    who: str = "ada",
    weight: float = 1.0,
    source: str = "captures",
    prefix: str = "read",
) -> pa.Table:
    """Rows of (N, 28, 28) images; sites take turns."""
    num = len(images)
    pngs = [png_of(image) for image in images]
    columns = {
        "read_id": [f"{prefix}-{number:05}" for number in range(num)],
        "crop_index": [0] * num,
        "crop_png": pngs,
        "image_png": pngs,
        "label": [int(label) for label in labels],
        "site": [sites[number % len(sites)] for number in range(num)],
        "source": [source] * num,
        "how": [how] * num,
        "who": [who] * num,
        "weight": [weight] * num,
        "received_at": [TIME] * num,
    }
    return pa.table(columns, schema=SCHEMA)


def write_snapshot(
    store: Store, as_of: str, train: pa.Table, test: pa.Table, *, parent: str | None = None
) -> Written:
    """Store these rows as the snapshot of a month."""
    facts = {
        "parent": parent,
        "label_events": {"number": len(train) + len(test), "sha256": "0" * 64, "latest": None},
        "git_commit": "unknown",
    }
    return write(store, as_of, {"train": train, "test": test}, facts)
