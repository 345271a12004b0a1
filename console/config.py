"""Where the console finds mail, models and its database: one object, from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from capture import config
from capture.config import CaptureSettings
from model.artifact import CHAMPION
from serving.config import Settings as ServiceSettings
from serving.config import load_settings

DEFAULT_DATABASE = "sqlite:///.work/console.db"


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """What the console's pages share."""

    capture: CaptureSettings
    service: ServiceSettings  # the keys, the directory of valid codes, the error target
    database: str  # DIGITS_CONSOLE_DATABASE: sqlite:///FILE or postgresql+psycopg2://...
    champion: Path  # DIGITS_CHAMPION, where that is a folder
    work: Path  # DIGITS_TRAINING_WORK: folder of the candidate that `training` makes
    mlflow_url: str  # MLFLOW_TRACKING_URI, where it is a server that a browser can open


def from_environment(environment: Mapping[str, str] = os.environ) -> ConsoleSettings:
    """Read the settings.

    Raises:
        ValueError: a capture setting has a mistake.
        ConfigError: a setting of the service has one.
    """
    service = load_settings()
    champion = service.champion or str(CHAMPION)
    tracking = environment.get("MLFLOW_TRACKING_URI", "")
    return ConsoleSettings(
        capture=config.from_environment(environment),
        service=service,
        database=environment.get("DIGITS_CONSOLE_DATABASE", DEFAULT_DATABASE),
        champion=CHAMPION if champion.startswith("s3://") else Path(champion),
        work=Path(environment.get("DIGITS_TRAINING_WORK", ".work/train")),
        mlflow_url=tracking.rstrip("/") if tracking.startswith("http") else "",
    )
