"""Where monitoring finds things: one frozen object, from the environment.

The command line can override each; these are the names that the AWS tasks set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """What every command shares."""

    spool: Path  # DIGITS_CAPTURE_DIR: the same folder that the service writes to
    store: str  # DIGITS_CAPTURE_STORE: folder or s3://bucket/prefix with the archive
    reports: str  # DIGITS_REPORTS: folder or s3://bucket/prefix
    reports_url: str  # DIGITS_REPORTS_URL: where people open the reports, for links in alerts
    alerts: tuple[str, ...]  # DIGITS_ALERTS: sinks, separated by spaces
    keep_days: int  # DIGITS_CAPTURE_KEEP_DAYS: older records are deleted
    emf: bool  # DIGITS_EMF=on: metric lines on stdout


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings.

    Raises:
        ValueError: DIGITS_CAPTURE_KEEP_DAYS is no positive whole number.
    """
    keep_days = environment.get("DIGITS_CAPTURE_KEEP_DAYS", "90")
    if not keep_days.isdigit() or int(keep_days) < 1:
        raise ValueError(f"DIGITS_CAPTURE_KEEP_DAYS is {keep_days!r}; give days, 1 or more")
    reports = environment.get("DIGITS_REPORTS", "reports")
    return Settings(
        spool=Path(environment.get("DIGITS_CAPTURE_DIR", "captures/spool")),
        store=environment.get("DIGITS_CAPTURE_STORE", "captures"),
        reports=reports,
        reports_url=environment.get("DIGITS_REPORTS_URL", reports).rstrip("/"),
        alerts=tuple(environment.get("DIGITS_ALERTS", "log:").split()),
        keep_days=int(keep_days),
        emf=environment.get("DIGITS_EMF", "off").lower() in ("on", "true", "1", "yes"),
    )
