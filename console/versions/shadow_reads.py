"""What a challenger read in shadow, by the newest drift reports. Edge: reads the reports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from capture.store import Store, StoreError

_NAME: Final = "report.json"
_NUM_REPORTS: Final = 14  # newest ones that are looked at


def latest(reports: Store) -> tuple[str, list[Mapping[str, Any]]] | None:
    """The newest window with a challenger, and its comparisons; None where there is none.

    Raises:
        StoreError: the reports cannot be listed.
    """
    keys = [key for key in reports.find("") if key.count("/") == 1 and key.endswith(f"/{_NAME}")]
    for key in sorted(keys, key=lambda key: key.partition("/")[0].split("..")[-1], reverse=True)[
        :_NUM_REPORTS
    ]:
        try:
            summary = json.loads(reports.get(key))
        except (StoreError, ValueError):
            continue
        if summary.get("challengers"):
            return key.partition("/")[0], summary["challengers"]
    return None


def retrain_state(reports: Store) -> Mapping[str, Any] | None:
    """What the monthly retraining has done; None where it has not run."""
    try:
        found = json.loads(reports.get("retrain/state.json"))
    except (StoreError, ValueError):
        return None
    return found if isinstance(found, dict) else None
