"""How far a month's retraining has come, so that one that was killed goes on where it was.

Edge: reads and replaces one file. A step is done when it is written here, which is after its files
are; a step that was killed before is done again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from training import provenance

NAME = "retrain.json"


@dataclass(frozen=True, slots=True)
class RetrainState:
    """What one retraining is about, and which steps are done."""

    about: Mapping[str, str]  # month, data version, champion, recipe
    done: Mapping[str, str] = field(default_factory=dict)  # step -> when


def load(folder: Path, about: Mapping[str, str]) -> RetrainState:
    """The state of this retraining; a fresh one where the file is about another."""
    try:
        saved = RetrainState(**json.loads((folder / NAME).read_text()))
    except FileNotFoundError:
        return RetrainState(about)
    return saved if saved.about == dict(about) else RetrainState(about)


def mark(state: RetrainState, step: str, folder: Path) -> RetrainState:
    """Write that a step is done."""
    marked = RetrainState(state.about, {**state.done, step: provenance.now()})
    folder.mkdir(parents=True, exist_ok=True)
    staged = folder / f".{NAME}.staged"
    with staged.open("w") as file:
        file.write(json.dumps(asdict(marked), indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    staged.rename(folder / NAME)
    return marked
