"""An operator's own labelled crops: a folder of PNG or JPEG files per label, or an .npz file.

Edge: reads files. Knows nothing about models.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.decode import decode
from model.errors import CropError
from training.data.mnist_files import DataError

SUFFIXES = (".png", ".jpg", ".jpeg")


def load_extra(path: Path) -> tuple[list[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Load crops and labels.

    Args:
        path: a folder with sub-folders 0 to 9 of PNG or JPEG crops, or an .npz file with
            `images` (N, H, W) uint8 (or float in [0, 1]) and `labels` (N,).

    Returns:
        crops, each (H, W) uint8, and labels (N,) uint8.

    Raises:
        DataError: the path has no usable crops; the message says what was expected.
    """
    if path.is_dir():
        return _load_folder(path)
    if path.suffix == ".npz" and path.is_file():
        return _load_npz(path)
    raise DataError(f"{path} is neither a folder with sub-folders 0 to 9 nor an .npz file")


def _load_folder(path: Path) -> tuple[list[NDArray[np.uint8]], NDArray[np.uint8]]:
    crops, labels = [], []
    for label in range(10):
        for file in sorted((path / str(label)).glob("*")):
            if file.suffix.lower() not in SUFFIXES:
                continue
            try:
                crops.append(decode(file.read_bytes()))
            except CropError as error:
                raise DataError(f"{file}: {error}") from error
            labels.append(label)
    if not crops:
        raise DataError(f"{path} has no PNG or JPEG file in sub-folders 0 to 9")
    return crops, np.array(labels, dtype=np.uint8)


def _load_npz(path: Path) -> tuple[list[NDArray[np.uint8]], NDArray[np.uint8]]:
    try:
        with np.load(path, allow_pickle=False) as saved:
            images, labels = saved["images"], saved["labels"]
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} has no `images` and `labels` arrays: {error}") from error
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise DataError(
            f"{path}: images {images.shape} and labels {labels.shape} do not fit; "
            "expected (N, H, W) and (N,)"
        )
    if not np.isin(labels, range(10)).all():
        raise DataError(f"{path}: labels must be 0 to 9, found {sorted(set(labels.tolist()))}")
    if images.dtype.kind == "f":
        images = np.rint(np.clip(images, 0, 1) * 255)
    return list(images.astype(np.uint8)), labels.astype(np.uint8)
