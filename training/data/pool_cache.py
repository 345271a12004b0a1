"""A cache of rendered pools: the same sources, settings, seed and code give the same pool.

Edge: reads and writes files of the cache. Knows nothing about how a pool is rendered.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import time
import zipfile
from collections.abc import Callable
from dataclasses import fields, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.datasets import LabelledImages
from training.data.render import RenderConfig, Sources

logger = logging.getLogger(__name__)

ROOT = Path(__file__).parents[2]
CODE = (ROOT / "training" / "data", ROOT / "model")  # whose files decide what a pool looks like
LIBRARIES = ("numpy", "pillow", "torch")
NUM_KEPT = 6  # a default pool has 220 MB; each fit has one for training and one for validation


def cached_pool(
    folder: Path,
    sources: Sources,
    config: RenderConfig,
    *,
    seed: int,
    render: Callable[[], LabelledImages],
) -> LabelledImages:
    """Read the pool from the cache, or render it and keep it there.

    Args:
        folder: of the cache; the `NUM_KEPT` pools that were used last stay in it.
        sources: what the crops are drawn from.
        config: size and parts of the pool.
        seed: of the rendering.
        render: makes the pool.
    """
    path = folder / f"{key(sources, config, seed=seed)}.npz"
    found = _read(path)
    if found is not None:
        logger.info("%d rendered crops from the cache, %s", len(found), path)
        return found
    found = render()
    _keep(found, path)
    return found


def key(sources: Sources, config: RenderConfig, *, seed: int, code: tuple[Path, ...] = CODE) -> str:
    """The sha256 of everything that a pool depends on; the number of processes does not count."""
    digest = hashlib.sha256()
    digest.update(repr((replace(config, num_processes=1), seed)).encode())
    for name in LIBRARIES:
        digest.update(f"{name} {version(name)} ".encode())
    digest.update(f"{platform.machine()} {platform.python_version()}".encode())
    for folder in code:
        for path in sorted(folder.glob("*.py")):
            digest.update(f"{path.name} ".encode() + path.read_bytes())
    for part in (sources.digits, sources.glyphs):
        for array in () if part is None else (part.images, part.labels):
            _add_array(digest, array)
        digest.update(b";")
    if sources.letters is not None:
        _add_array(digest, sources.letters)
    return digest.hexdigest()


def _add_array(digest: hashlib._Hash, array: NDArray[np.uint8]) -> None:
    digest.update(str(array.shape).encode())
    digest.update(array.tobytes())


def _read(path: Path) -> LabelledImages | None:
    """The pool, marked as used now; None where it is missing or damaged."""
    try:
        # Opened here: np.load leaves the file of a damaged archive open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            found = LabelledImages(
                **{field.name: saved[field.name] for field in fields(LabelledImages)}
            )
    except FileNotFoundError:
        return None
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        logger.warning("%s is damaged (%s); rendering again", path, error)
        return None
    os.utime(path)
    return found


def _keep(pool: LabelledImages, path: Path) -> None:
    """Write the pool under a temporary name, rename it, and delete the oldest pools.

    A full or read-only disk costs time only: the pool is used, but not kept.
    """
    arriving = path.with_name(f".{path.stem}.{os.getpid()}.{time.monotonic_ns()}.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            np.savez(arriving, **{field.name: getattr(pool, field.name) for field in fields(pool)})
            arriving.rename(path)
        finally:
            arriving.unlink(missing_ok=True)
        kept = sorted(path.parent.glob("*.npz"), key=lambda old: old.stat().st_mtime, reverse=True)
        for old in kept[NUM_KEPT:]:
            old.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("the rendered pool is not kept in the cache: %s", error)
