"""Keep every champion that was ever served, so that `rollback` can bring it back.

Edge: reads and writes a folder or a bucket. A version is complete when its manifest is there, which
is written last, and is never written again.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from capture.store import MissingKey, Store
from training.champion_switch import WEIGHTS

MANIFEST = "manifest.json"
CONTENT_TYPE = "application/octet-stream"


class VersionError(RuntimeError):
    """A version is missing, or its number is another model's; the message says what to do."""


def keep(champion: Path, store: Store) -> None:
    """Copy a champion folder into the store, unless it is there.

    Raises:
        VersionError: the store has another model under this version.
        StoreError: the store failed.
    """
    data = (champion / MANIFEST).read_bytes()
    manifest = json.loads(data)
    version = str(manifest["version"])
    kept = _manifest(version, store)
    if kept is not None:
        if kept["sha256"] != manifest["sha256"]:
            raise VersionError(
                f"version {version} in {store.url} is another model: sha256 {kept['sha256']}, here"
                f" it is {manifest['sha256']}; name another store with --model-store"
            )
        return
    for path in sorted(champion.rglob("*")):
        name = path.relative_to(champion).as_posix()
        if path.is_file() and name != MANIFEST:
            store.put(f"{version}/{name}", path.read_bytes(), content_type=CONTENT_TYPE)
    store.put(f"{version}/{MANIFEST}", data, content_type="application/json")


def fetch(version: str, store: Store, folder: Path) -> None:
    """Write a kept champion into a new folder.

    Raises:
        VersionError: the store does not have it, or its model is not the one of its manifest.
        StoreError: the store failed.
    """
    manifest = _manifest(version, store)
    if manifest is None:
        kept = ", ".join(versions(store)) or "none"
        raise VersionError(f"version {version} is not in {store.url}; kept there: {kept}")
    for key in store.find(f"{version}/"):
        path = folder / key.removeprefix(f"{version}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.get(key))
    for name, member in (("model.onnx", "sha256"), (WEIGHTS, "weights_sha256")):
        if member not in manifest:
            continue  # promoted before weights were kept
        path = folder / name
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "none"
        if found != manifest[member]:
            raise VersionError(
                f"version {version} in {store.url} is damaged: {name} has sha256 {found}, its"
                f" manifest says {manifest[member]}"
            )


def versions(store: Store) -> list[str]:
    """The versions that are kept whole, oldest first."""
    keys = [key for key in store.find("") if key.count("/") == 1 and key.endswith(f"/{MANIFEST}")]
    return sorted((key.partition("/")[0] for key in keys), key=int)


def metrics(version: str, store: Store) -> dict[str, float]:
    """The numbers in a kept champion's manifest; none where it is not kept."""
    manifest = _manifest(version, store) or {}
    found: dict[str, float] = manifest.get("metrics", {})
    return found


def data_version(version: str, store: Store) -> str:
    """The labelled mail that a kept champion was fitted on; "-" for none."""
    mail = (_manifest(version, store) or {}).get("mail")
    return str(mail["data_version"]) if mail else "-"


def _manifest(version: str, store: Store) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(store.get(f"{version}/{MANIFEST}"))
    except MissingKey:
        return None
    return found
