"""Bring an earlier champion back into its place, whatever the model is.

Edge: reads the store, replaces the champion folder, announces the switch.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

from capture.store import Store
from model.champion_files import MANIFEST
from training import champion_switch, model_store, promotion_log, provenance
from training.model_store import VersionError
from training.promotion_log import Promotion

logger = logging.getLogger(__name__)


def bring_back(
    champion: Path,
    store: Store,
    *,
    to_version: str | None,
    why: str,
    check: Callable[[Path], object],
    announce: Callable[[Promotion], None],
) -> Promotion:
    """Make an earlier champion the champion again.

    Args:
        champion: the champion folder to replace.
        store: what promotions keep the champions in.
        to_version: None for the champion before this one.
        why: reason for the promotion log.
        check: raises ArtifactRefused if serving would refuse a folder, the old or the new one;
            nothing has changed then.
        announce: tells others of the switch, for example the registry.

    Raises:
        VersionError: there is no earlier champion, the version is the champion already, or the
            store does not have it or has it damaged.
    """
    champion_switch.recover(champion, announce)
    if not (champion / MANIFEST).exists():
        raise VersionError(f"there is no champion in {champion}; promote one first")
    check(champion)
    served = str(json.loads((champion / MANIFEST).read_text())["version"])
    # By the first entry: the later ones may be rollbacks, and a second one would go to and fro.
    log = promotion_log.read(champion)
    wanted = to_version or next(
        (entry.from_version for entry in log if entry.to_version == served), None
    )
    if wanted is None:
        raise VersionError(f"no champion before version {served} is in the log; name one")
    if wanted == served:
        raise VersionError(f"version {served} is the champion already")
    staged = champion_switch.staged_folder(champion)
    model_store.keep(champion, store)
    model_store.fetch(wanted, store, staged)
    check(staged)
    entry = champion_switch.switch(
        staged, champion, when=provenance.now(), why=why, announce=announce
    )
    logger.info(
        "champion %s -> %s; a running service takes it by itself where DIGITS_CHAMPION names "
        "the folder",
        served,
        wanted,
    )
    return entry
