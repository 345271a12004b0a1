"""The anchor: the numbers of one earlier champion, which every later candidate is compared with.

Edge: reads and writes `anchor.json` beside the champion folder. A candidate may be a little worse
than the champion by chance; after a year of such candidates the champion is a point worse. The
anchor does not move with the champion: `promote --move-anchor REASON` moves it, nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from training.evaluation.judge import Evaluation

ANCHOR_NAME = "anchor.json"
# Not an operator's own crops, which are others each month.
ANCHORED_SETS = ("mnist", "mnist_reframed", "rendered", "held_out_fonts", "uci")


@dataclass(frozen=True, slots=True)
class SetAnchor:
    """One set in numbers."""

    num: int
    accuracy: float
    accepted_frac: float


@dataclass(frozen=True, slots=True)
class Anchor:
    """What the anchored champion reached."""

    version: str
    sha256: str
    why: str
    sets: Mapping[str, SetAnchor]
    harm: Mapping[str, float]  # "seen" and "unseen": mean over the kinds


def make(
    evaluation: Evaluation, harm: Mapping[str, float], *, version: str, sha256: str, why: str
) -> Anchor:
    """The anchor of a champion, from the sets that every evaluation has."""
    sets = {
        name: SetAnchor(result.num, result.accuracy, result.accepted_frac)
        for name, result in evaluation.sets.items()
        if name in ANCHORED_SETS
    }
    return Anchor(version, sha256, why, sets, harm)


def path_for(champion: Path) -> Path:
    """Where the anchor of a champion folder is."""
    return champion.with_name(ANCHOR_NAME)


def load(champion: Path) -> Anchor | None:
    """Read the anchor; None where there is none yet."""
    path = path_for(champion)
    if not path.exists():
        return None
    saved = json.loads(path.read_text())
    sets = {name: SetAnchor(**row) for name, row in saved.pop("sets").items()}
    return Anchor(**saved, sets=sets)


def save(anchor: Anchor, champion: Path) -> None:
    """Write the anchor in one rename."""
    path = path_for(champion)
    staged = path.with_suffix(".staged")
    staged.write_text(json.dumps(asdict(anchor), indent=1) + "\n")
    staged.rename(path)
