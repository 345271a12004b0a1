"""Commands `rollback` and `history`: an earlier champion back in its place, and who followed whom.

Edge: replaces the champion folder, moves the alias.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from capture.snapshot_erasure import retrain_due
from capture.store import Store
from model import artifact
from training import model_store, promotion_log
from training.champion_rollback import bring_back
from training.promotion_log import Promotion
from training.steps.promote import move_alias, settle

SHOWN = ("mnist_accuracy", "rendered_accuracy", "rendered_accepted_frac")


def run(champion: Path, store: Store, *, to_version: str | None, why: str) -> Promotion:
    """Make an earlier champion the champion again, and move the alias.

    Args:
        champion: the champion folder to replace.
        store: what `promote` keeps the champions in.
        to_version: None for the champion before this one.
        why: reason for the promotion log.

    Raises:
        VersionError: there is no earlier champion, the version is the champion already, or the
            store does not have it or has it damaged.
        ArtifactRefused: serving would refuse the champion or the kept folder; nothing has changed.
    """
    return bring_back(
        champion,
        store,
        to_version=to_version,
        why=why,
        check=artifact.load,
        announce=partial(move_alias, champion),
    )


def history(champion: Path, store: Store) -> str:
    """A Markdown table of the promotion log, with the numbers of the champions that are kept.

    Below it stand the champions that were trained on crops that have been erased since.
    """
    settle(champion)
    head = ("when", "from", "to", "who", "why", "data", *(name.replace("_", " ") for name in SHOWN))
    rows = [head, ("---",) * len(head)]
    for entry in promotion_log.read(champion):
        metrics = model_store.metrics(entry.to_version, store)
        rows.append(
            (
                entry.when,
                entry.from_version or "-",
                entry.to_version,
                entry.who,
                entry.why,
                model_store.data_version(entry.to_version, store),
                *(f"{metrics[name]:.2%}" if name in metrics else "-" for name in SHOWN),
            )
        )
    due = [
        f"version {version}: retrain due since {since}: crops it was trained on were erased"
        for version in model_store.versions(store)
        if (since := retrain_due(store, version)) is not None
    ]
    return "\n".join(["| " + " | ".join(row) + " |" for row in rows] + due)
