"""How a run was made: commit, libraries, time.

Edge: runs git and reads the clock. Knows nothing about training.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version

LIBRARIES = ("torch", "onnx", "onnxruntime", "numpy", "pillow", "mlflow")


def git_commit() -> str:
    """The commit of the working folder, with "-dirty" when files differ; "unknown" outside git.

    A container image has no git repository; its build sets DIGITLINE_REVISION to the commit.
    """
    if revision := os.environ.get("DIGITLINE_REVISION"):
        return revision
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        check=False,
        capture_output=True,
        text=True,
    )
    return described.stdout.strip() or "unknown"


def library_versions() -> Mapping[str, str]:
    """Versions of the libraries that affect a model's bytes and logits."""
    return {name: version(name) for name in LIBRARIES}


def now() -> str:
    """ISO 8601 time, UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
