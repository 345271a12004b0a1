"""Exchanges the states of sites between tasks that share no disk, through the archive's store.

One object has all of them. Two tasks that write it at once lose what one of them wrote until its
next turn, because each task keeps its own states in its folder.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from capture.site_states import SiteState, SiteStates
from capture.store import MissingKey, Store

log = logging.getLogger(__name__)

KEY: Final = "sites/states.json"
FOLDER: Final = "sites"  # in the spool, where the service keeps them (serving/build.py)
_STATES: Final = TypeAdapter(list[SiteState])
SYNC_S: Final = 20.0  # with the service's own 15 s, a hold reaches every task within 60 s


def sync(spool: Path, store: Store) -> None:
    """Merge the other tasks' states into the spool's, and the result into the store.

    Raises:
        StoreError: the store failed, or the folder.
    """
    others = stored(store)
    merged = SiteStates(spool / FOLDER).merge_in(others)
    if merged != others:
        store.put(KEY, _STATES.dump_json(merged), content_type="application/json")


def stored(store: Store) -> list[SiteState]:
    """The states that the tasks have exchanged; a damaged file is logged and has none."""
    try:
        return _STATES.validate_json(store.get(KEY), strict=True)
    except MissingKey:
        return []
    except ValueError as error:
        log.error("%s is damaged and is written anew: %s", KEY, error)  # noqa: TRY400
        return []
