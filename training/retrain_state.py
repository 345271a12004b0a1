"""How far a month's retraining has come, so that one that was killed goes on where it was.

Edge: reads and replaces one file. A step is done when it is written here, which is after its files
are; a step that was killed before is done again. So is one whose files, which the later steps read,
are no longer what it wrote.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from training import provenance

NAME = "retrain.json"


@dataclass(frozen=True, slots=True)
class RetrainState:
    """What one retraining is about, and which steps are done."""

    about: Mapping[str, str]  # month, data version, champion, recipe
    done: Mapping[str, str] = field(default_factory=dict)  # step -> when, in their order
    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # step -> file -> sha256


def load(folder: Path, about: Mapping[str, str]) -> RetrainState:
    """The state of this retraining; a fresh one where the file is about another, or is no state.

    A retraining whose candidate is served stays what it was: about the champion before.
    """
    try:
        saved = RetrainState(**json.loads((folder / NAME).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return RetrainState(about)
    is_served = is_candidate(saved, about["champion"])
    before = {**about, "champion": saved.about["champion"]} if is_served else dict(about)
    return _unchanged(saved, folder) if saved.about == before else RetrainState(about)


def is_candidate(state: RetrainState, model_sha256: str) -> bool:
    """Whether a served model is what this retraining made."""
    return any(model_sha256 in wrote.values() for wrote in state.files.values())


def _unchanged(state: RetrainState, folder: Path) -> RetrainState:
    """Without the first step whose files are others now, and without all after it."""
    done: dict[str, str] = {}
    for step, when in state.done.items():
        wrote = state.files.get(step, {})
        if any(_sha256(folder / name) != digest for name, digest in wrote.items()):
            break
        done[step] = when
    return RetrainState(state.about, done, {step: state.files[step] for step in done})


def mark(state: RetrainState, step: str, folder: Path, *, wrote: Sequence[Path]) -> RetrainState:
    """Write that a step is done, and what the files are that it wrote."""
    files = {path.relative_to(folder).as_posix(): _sha256(path) for path in wrote}
    marked = RetrainState(
        state.about,
        {**state.done, step: provenance.now()},
        {**state.files, step: files},
    )
    folder.mkdir(parents=True, exist_ok=True)
    staged = folder / f".{NAME}.staged"
    with staged.open("w") as file:
        file.write(json.dumps(asdict(marked), indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    staged.rename(folder / NAME)
    return marked


def _sha256(path: Path) -> str:
    """Digest of a file; empty where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
