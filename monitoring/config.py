"""Where monitoring finds captures and reports: one frozen object, from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from capture import config
from capture.config import CaptureSettings
from monitoring.findings import Severity

DRIFT_TRIGGERS: Final = {"watch": Severity.WATCH, "act": Severity.ACT, "never": None}


@dataclass(frozen=True, slots=True)
class Triggers:
    """What makes a finished month worth a retraining; either is enough."""

    min_labels: int  # DIGITS_RETRAIN_LABELS; the gate judges a site from 200 labels on
    drift: Severity | None  # DIGITS_RETRAIN_DRIFT: watch, act or never


@dataclass(frozen=True, slots=True)
class Settings:
    """What the commands of drift share."""

    capture: CaptureSettings
    reports_url: str  # DIGITS_REPORTS_URL: where people open the reports, for links in alerts
    alerts: tuple[str, ...]  # DIGITS_ALERTS: sinks, separated by spaces
    retrain: Triggers


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings.

    Raises:
        ValueError: a number or a word is none of those that the setting takes.
    """
    capture = config.from_environment(environment)
    return Settings(
        capture=capture,
        reports_url=config.text_of(
            environment, "DIGITS_REPORTS_URL", _url_of(capture.reports)
        ).rstrip("/"),
        alerts=tuple(config.text_of(environment, "DIGITS_ALERTS", "log:").split()),
        retrain=_triggers(environment),
    )


def _url_of(reports: str) -> str:
    """An address that opens on this machine where the reports are in a folder."""
    return reports if urlsplit(reports).scheme else Path(reports).absolute().as_uri()


def _triggers(environment: Mapping[str, str]) -> Triggers:
    labels = config.number_of(environment, "DIGITS_RETRAIN_LABELS", 200, most=1_000_000_000)
    drift = environment.get("DIGITS_RETRAIN_DRIFT", "act")
    if drift not in DRIFT_TRIGGERS:
        raise ValueError(f"DIGITS_RETRAIN_DRIFT is {drift!r}; give {', '.join(DRIFT_TRIGGERS)}")
    return Triggers(min_labels=labels, drift=DRIFT_TRIGGERS[drift])
