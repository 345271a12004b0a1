"""The served champion, those that the model store keeps, and who followed whom.

Edge: reads the champion folder, the promotion log beside it and the model store.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from capture.snapshot_erasure import RETRAIN_DUE
from capture.store import MissingKey, Store
from console.versions.candidate_folder import read_json
from console.versions.model_facts import OTHER_SHAPE, ModelFacts, of_manifest

_MANIFEST: Final = "manifest.json"
_LOG: Final = "promotions.jsonl"  # beside the champion folder


@dataclass(frozen=True, slots=True)
class Champion:
    """The served model."""

    version: str
    facts: ModelFacts
    retrain_due: str  # since when, because of an erasure; empty: it is not


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the promotion log."""

    when: str
    who: str
    from_version: str | None
    to_version: str
    why: str

    @property
    def is_rollback(self) -> bool:
        """Whether an earlier version came back."""
        before = self.from_version or ""
        return (
            before.isdecimal()
            and self.to_version.isdecimal()
            and (int(self.to_version) < int(before))
        )


def served(folder: Path) -> Champion | None:
    """The champion; None where there is none, or its manifest cannot be read."""
    manifest = read_json(folder / _MANIFEST)
    try:
        if manifest is None:
            return None
        version = str(manifest["version"])
        facts = of_manifest(f"Champion {version}", manifest)
    except OTHER_SHAPE:
        return None
    due = read_json(folder / RETRAIN_DUE) or {}
    return Champion(version, facts, str(due.get("since", "")))


def changes(folder: Path) -> list[Change]:
    """The promotion log, newest first; lines that are no promotion are left out."""
    try:
        lines = folder.with_name(_LOG).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            row = json.loads(line)
            found.append(
                Change(
                    when=str(row["when"]),
                    who=str(row["who"]),
                    from_version=row["from_version"],
                    to_version=str(row["to_version"]),
                    why=str(row["why"]),
                )
            )
        except OTHER_SHAPE:
            continue
    return found[::-1]


def kept_versions(models: Store) -> list[str]:
    """The versions that the model store has whole, newest first. Raises StoreError."""
    keys = [key for key in models.find("") if key.count("/") == 1 and key.endswith(_MANIFEST)]
    found = {version for version in (key.partition("/")[0] for key in keys) if is_version(version)}
    return sorted(found, key=int, reverse=True)


def is_version(text: str) -> bool:
    """Whether a text has the form of a version, which is a number."""
    return text.isascii() and text.isdecimal() and len(text) <= 9


def kept_facts(models: Store, version: str) -> ModelFacts | None:
    """A kept champion's facts; None where it is not kept. Raises StoreError."""
    try:
        manifest: Mapping[str, Any] = json.loads(models.get(f"{version}/{_MANIFEST}"))
        return of_manifest(f"Version {version}", manifest)
    except (MissingKey, *OTHER_SHAPE):
        return None
