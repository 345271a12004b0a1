"""Where captures are: one frozen object, from the environment.

The command line can override each; these are the names that the AWS tasks set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    """What the commands of capture share."""

    spool: Path  # DIGITS_CAPTURE_DIR: the folder that the service writes to
    store: str  # DIGITS_CAPTURE_STORE: folder or s3://bucket/prefix with the archive
    reports: str  # DIGITS_REPORTS: folder or s3://bucket/prefix
    data: str  # DIGITS_DATA_STORE: folder or s3://bucket/prefix with the data snapshots
    models: str  # DIGITS_MODEL_STORE: folder or s3://bucket/prefix with every champion
    champion: str | None  # DIGITS_CHAMPION: folder or s3://bucket/prefix; None: the shipped one
    keep_days: int  # DIGITS_CAPTURE_KEEP_DAYS: older records are deleted
    emf: bool  # DIGITS_EMF=on: metric lines on stdout


def from_environment(environment: Mapping[str, str] = os.environ) -> CaptureSettings:
    """Read the settings.

    Raises:
        ValueError: DIGITS_CAPTURE_KEEP_DAYS is not a positive whole number.
    """
    keep_days = environment.get("DIGITS_CAPTURE_KEEP_DAYS", "90")
    if not keep_days.isdigit() or int(keep_days) < 1:
        raise ValueError(f"DIGITS_CAPTURE_KEEP_DAYS is {keep_days!r}; give days, 1 or more")
    return CaptureSettings(
        spool=Path(environment.get("DIGITS_CAPTURE_DIR", "captures/spool")),
        store=environment.get("DIGITS_CAPTURE_STORE", "captures"),
        reports=environment.get("DIGITS_REPORTS", "reports"),
        data=environment.get("DIGITS_DATA_STORE", ".work/data"),
        models=environment.get("DIGITS_MODEL_STORE", "model-store"),
        champion=environment.get("DIGITS_CHAMPION") or None,
        keep_days=int(keep_days),
        emf=environment.get("DIGITS_EMF", "off").lower() in ("on", "true", "1", "yes"),
    )
