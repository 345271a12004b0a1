"""Hash-check and load a champion folder; refuse everything that must not be served.

Order of the checks: size, sha256 against the manifest, then what the ONNX file refers to. A session
is created only after all of them.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from model.decision import Policy
from model.errors import ArtifactRefused
from model.onnx_inspect import inspect

CHAMPION: Final = Path(__file__).parent / "champion"
SERVED_FILES: Final = ("manifest.json", "model.onnx", "golden.png")
MAX_MODEL_BYTES: Final = 5_000_000
MANIFEST_SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class Golden:
    """A crop whose answer is known; read at start and by the readiness check."""

    png: bytes
    digit: int
    min_confidence: float


@dataclass(frozen=True, slots=True)
class Artifact:
    """A verified model with everything needed to serve it."""

    onnx_bytes: bytes
    version: str
    sha256: str
    manifest: dict[str, Any]  # the whole manifest.json, for GET /v1/model
    golden: Golden

    def policy(self, error_target: float | None = None) -> Policy:
        """The decision policy for an error target.

        Args:
            error_target: largest share of accepted reads that may be wrong, in (0, 1);
                None is the model's default.

        Raises:
            ArtifactRefused: no threshold of this model reaches the target.
        """
        target = self.manifest["default_error_target"] if error_target is None else error_target
        rows = [row for row in self.manifest["thresholds"] if row["error_target"] <= target]
        if not rows:
            lowest = min(row["error_target"] for row in self.manifest["thresholds"])
            raise ArtifactRefused(
                f"error target {target} is below the lowest that model {self.version} "
                f"was validated for ({lowest}); raise DIGITS_ERROR_TARGET"
            )
        row = max(rows, key=lambda row: float(row["error_target"]))
        return Policy(
            temperature=float(self.manifest["temperature"]),
            threshold=float(row["threshold"]),
            garbage_threshold=float(self.manifest["garbage_threshold"]),
        )


def load(folder: Path = CHAMPION) -> Artifact:
    """Read and verify a champion folder.

    Raises:
        ArtifactRefused: as `verify`.
    """
    return verify(read_files(folder))


def read_files(folder: Path) -> dict[str, bytes]:
    """The files of a champion folder that serving needs; one that cannot be read is absent.

    All are of one folder, even if another one takes its name meanwhile. It is opened anew in each
    call, so a folder that has taken the name is seen.
    """
    files: dict[str, bytes] = {}
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return files
    try:
        for name in SERVED_FILES:
            try:
                with open(name, "rb", opener=partial(_open_in, opened)) as file:
                    files[name] = file.read(MAX_MODEL_BYTES + 1)
            except OSError:
                continue
    finally:
        os.close(opened)
    return files


def _open_in(folder: int, name: str, flags: int) -> int:
    """Open a file of an open folder; a named pipe does not block until somebody writes to it."""
    return os.open(name, flags | os.O_NONBLOCK, dir_fd=folder)


def verify(files: Mapping[str, bytes]) -> Artifact:
    """Verify the files of a champion.

    Args:
        files: name -> content; those of SERVED_FILES.

    Raises:
        ArtifactRefused: a file is missing, differs from the manifest's sha256, is larger than
            5 MB, uses external data, a custom operator domain or an untested opset; or the manifest
            lacks a member or has an impossible one.
    """
    manifest = _read_manifest(_file(files, "manifest.json"))
    onnx_bytes = _file(files, "model.onnx")
    if len(onnx_bytes) > MAX_MODEL_BYTES:
        raise ArtifactRefused(
            f"model.onnx has {len(onnx_bytes)} bytes; at most {MAX_MODEL_BYTES} are allowed"
        )
    sha256 = hashlib.sha256(onnx_bytes).hexdigest()
    if sha256 != manifest["sha256"]:
        raise ArtifactRefused(
            f"model.onnx has sha256 {sha256} but manifest.json says {manifest['sha256']}; "
            "restore the champion folder from version control or promote again"
        )
    inspect(onnx_bytes)
    try:
        artifact = Artifact(
            onnx_bytes=onnx_bytes,
            version=str(manifest["version"]),
            sha256=sha256,
            manifest=manifest,
            golden=_read_golden(files, manifest["golden"]),
        )
        for row in manifest["thresholds"]:
            artifact.policy(row["error_target"])
        artifact.policy()
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactRefused(f"manifest.json has an impossible member: {error!r}") from error
    return artifact


def _read_golden(files: Mapping[str, bytes], entry: dict[str, Any]) -> Golden:
    return Golden(
        png=_file(files, entry["file"]),
        digit=int(entry["digit"]),
        min_confidence=float(entry["min_confidence"]),
    )


def _file(files: Mapping[str, bytes], name: str) -> bytes:
    if name not in files:
        raise ArtifactRefused(f"{name} of the champion cannot be read; promote or copy it again")
    return files[name]


def _read_manifest(content: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(content)
        if manifest["schema"] != MANIFEST_SCHEMA:
            raise ArtifactRefused(
                f"manifest.json has schema {manifest['schema']}; this code reads {MANIFEST_SCHEMA}"
            )
        for key in _MANIFEST_KEYS:
            manifest[key]
    except (ValueError, TypeError, KeyError) as error:
        raise ArtifactRefused(f"manifest.json is not a champion's manifest: {error!r}") from error
    return dict(manifest)


_MANIFEST_KEYS: Final = (
    "version",
    "sha256",
    "temperature",
    "default_error_target",
    "thresholds",
    "garbage_threshold",
    "metrics",
    "golden",
)
