"""Where monitoring finds captures and reports: one frozen object, from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from capture import config
from capture.config import CaptureSettings


@dataclass(frozen=True, slots=True)
class Settings:
    """What the commands of drift share."""

    capture: CaptureSettings
    reports_url: str  # DIGITS_REPORTS_URL: where people open the reports, for links in alerts
    alerts: tuple[str, ...]  # DIGITS_ALERTS: sinks, separated by spaces


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings.

    Raises:
        ValueError: DIGITS_CAPTURE_KEEP_DAYS is not a positive whole number.
    """
    capture = config.from_environment(environment)
    return Settings(
        capture=capture,
        reports_url=environment.get("DIGITS_REPORTS_URL", capture.reports).rstrip("/"),
        alerts=tuple(environment.get("DIGITS_ALERTS", "log:").split()),
    )
