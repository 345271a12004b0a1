"""Every day's report.json, read again only where it has changed."""

from __future__ import annotations

import json
from typing import Any, Final

from capture.store import MissingKey, Store
from console.drift.kept import Kept

_SUMMARY: Final = "/report.json"
_MOST: Final = 1_000


class DayReports:
    """The summaries of the reports.

    Args:
        reports: the store that `monitoring report` writes to.
    """

    def __init__(self, reports: Store) -> None:
        self._reports = reports
        self._kept: Kept[dict[str, Any] | None] = Kept(_MOST)

    def read(self) -> list[dict[str, Any]]:
        """All of them, oldest first; one that cannot be read is left out."""
        versions = self._reports.versions("")
        found = [
            self._kept.get(key, version, lambda key=key: self._load(key))  # type: ignore[misc]
            for key, version in versions.items()
            if key.endswith(_SUMMARY)
        ]
        return sorted((one for one in found if one is not None), key=lambda one: str(one["last"]))

    def _load(self, key: str) -> dict[str, Any] | None:
        try:
            summary = json.loads(self._reports.get(key))
        except (MissingKey, ValueError):
            return None
        return summary if isinstance(summary, dict) and "findings" in summary else None
