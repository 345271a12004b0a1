"""Where captures are: one frozen object, from the environment.

The command line can override each; these are the names that the AWS tasks set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MAX_KEEP_DAYS: Final = 36_500  # a century
_SWITCH: Final = dict.fromkeys(("on", "true", "1", "yes"), True) | dict.fromkeys(
    ("off", "false", "0", "no"), False
)


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
        ValueError: a variable is empty, or no number or switch where it must be one.
    """

    def text(name: str, default: str) -> str:
        return text_of(environment, name, default)

    def place(name: str, default: str) -> str:
        url = text(name, default)
        if "://" in url and not url.startswith(("s3://", "file://")):
            raise ValueError(f"{name} is {url[:40]!r}; give a folder or s3://bucket/prefix")
        return url

    spool = text("DIGITS_CAPTURE_DIR", "captures/spool")
    if "://" in spool:
        raise ValueError(f"DIGITS_CAPTURE_DIR is {spool[:40]!r}; give a path on this machine")
    emf = text("DIGITS_EMF", "off").lower()
    if emf not in _SWITCH:
        raise ValueError(f"DIGITS_EMF is {emf[:40]!r}; give on or off")
    return CaptureSettings(
        spool=Path(spool),
        store=place("DIGITS_CAPTURE_STORE", "captures"),
        reports=place("DIGITS_REPORTS", "reports"),
        data=place("DIGITS_DATA_STORE", ".work/data"),
        models=place("DIGITS_MODEL_STORE", "model-store"),
        champion=environment.get("DIGITS_CHAMPION") or None,
        keep_days=number_of(environment, "DIGITS_CAPTURE_KEEP_DAYS", 90, most=_MAX_KEEP_DAYS),
        emf=_SWITCH[emf],
    )


def text_of(environment: Mapping[str, str], name: str, default: str) -> str:
    """The value of a variable; an empty folder would be the working directory.

    Raises:
        ValueError: it is set, but empty.
    """
    value = environment.get(name, default)
    if not value.strip():
        raise ValueError(f"{name} is empty; give a value, or leave it unset")
    return value


def number_of(environment: Mapping[str, str], name: str, default: int, *, most: int) -> int:
    """A whole number from 1 to `most`.

    Raises:
        ValueError: the variable is something else.
    """
    text = environment.get(name, str(default))
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(most))
    if not is_number or not 1 <= int(text) <= most:
        raise ValueError(f"{name} is {text[:40]!r}; give a whole number from 1 to {most}")
    return int(text)
