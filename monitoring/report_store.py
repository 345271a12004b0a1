"""Where reports are, and what those say that were made. Edge: reads a store.

reports/2026-11-20/report.json   the numbers of one report
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from capture.store import Store

SUMMARY: Final = "report.json"


@dataclass(frozen=True, slots=True)
class ReportLocations:
    """Where a report reads from and writes to."""

    captures: Store
    reports: Store
    reports_url: str
    sinks: tuple[str, ...]


def read_summaries(reports: Store) -> list[dict[str, Any]]:
    """The content of every report.json, oldest first."""
    keys = [key for key in reports.find("") if key.endswith(f"/{SUMMARY}")]
    return sorted((json.loads(reports.get(key)) for key in keys), key=lambda one: str(one["last"]))
