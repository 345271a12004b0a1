"""The files of a champion folder, read and verified, whatever the model answers.

Order of the checks: size, sha256 against the manifest, then what the ONNX file refers to. Knows
nothing about what a manifest says beside version and sha256.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from model.errors import ArtifactRefused
from model.onnx_inspect import inspect

MANIFEST, MODEL = "manifest.json", "model.onnx"
MANIFEST_SCHEMA: Final = 1
SEAL: Final = "manifest_sha256"  # of all other members: thresholds decide what is accepted


@dataclass(frozen=True, slots=True)
class FileRules:
    """Which files serving needs, and what the model may be."""

    names: tuple[str, ...]  # manifest.json and model.onnx among them
    max_bytes: int  # of each file
    manifest_keys: tuple[str, ...] = ("version", "sha256")
    domains: tuple[str, ...] = ()  # of operators, beside ONNX's own; onnxruntime must have them


@dataclass(frozen=True, slots=True)
class VerifiedFiles:
    """A model that is the one of its manifest."""

    onnx_bytes: bytes
    version: str
    sha256: str
    manifest: dict[str, Any]
    files: Mapping[str, bytes]  # all that were read


def read_files(folder: Path, rules: FileRules) -> dict[str, bytes]:
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
        for name in rules.names:
            try:
                with open(name, "rb", opener=partial(_open_in, opened)) as file:
                    files[name] = file.read(rules.max_bytes + 1)
            except OSError:
                continue
    finally:
        os.close(opened)
    return files


def _open_in(folder: int, name: str, flags: int) -> int:
    """Open a file of an open folder; a named pipe does not block until somebody writes to it."""
    return os.open(name, flags | os.O_NONBLOCK, dir_fd=folder)


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest with the hash of its own members, as `verify_files` checks it."""
    read_back = json.loads(json.dumps(manifest))
    return {**read_back, SEAL: _seal_of(read_back)}


def _seal_of(manifest: Mapping[str, Any]) -> str:
    others = {name: value for name, value in manifest.items() if name != SEAL}
    text = json.dumps(others, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def verify_files(files: Mapping[str, bytes], rules: FileRules) -> VerifiedFiles:
    """Verify that the model is the one of its manifest and refers to nothing else.

    Args:
        files: name -> content.
        rules: what must be there.

    Raises:
        ArtifactRefused: a file is missing or too large, differs from the manifest's sha256, uses
            external data, another operator domain or an untested opset; or the manifest lacks a
            member or is not the one that was sealed. One without a seal is of an earlier release.
    """
    manifest = _read_manifest(file_of(files, MANIFEST), rules.manifest_keys)
    onnx_bytes = file_of(files, MODEL)
    if len(onnx_bytes) > rules.max_bytes:
        raise ArtifactRefused(
            f"model.onnx has {len(onnx_bytes)} bytes; at most {rules.max_bytes} are allowed"
        )
    sha256 = hashlib.sha256(onnx_bytes).hexdigest()
    if sha256 != manifest["sha256"]:
        raise ArtifactRefused(
            f"model.onnx has sha256 {sha256} but manifest.json says {manifest['sha256']}; "
            "restore the champion folder from version control or promote again"
        )
    inspect(onnx_bytes, domains=rules.domains)
    for name in rules.names:
        file_of(files, name)
    return VerifiedFiles(onnx_bytes, str(manifest["version"]), sha256, manifest, files)


def file_of(files: Mapping[str, bytes], name: str) -> bytes:
    """One of the files. Raises ArtifactRefused."""
    if name not in files:
        raise ArtifactRefused(f"{name} of the champion cannot be read; promote or copy it again")
    return files[name]


def _read_manifest(content: bytes, keys: tuple[str, ...]) -> dict[str, Any]:
    try:
        manifest = json.loads(content)
        if manifest["schema"] != MANIFEST_SCHEMA:
            raise ArtifactRefused(
                f"manifest.json has schema {manifest['schema']}; this code reads {MANIFEST_SCHEMA}"
            )
        for key in keys:
            manifest[key]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ArtifactRefused(f"manifest.json is not a champion's manifest: {error!r}") from error
    if manifest.get(SEAL, _seal_of(manifest)) != _seal_of(manifest):
        raise ArtifactRefused(
            f"manifest.json is not the one that was promoted: its {SEAL} is of other members; "
            "restore the champion folder from version control or promote again"
        )
    return dict(manifest)
