"""The options that several commands of `python -m training` have, most of which name a place.

Edge: reads the environment for defaults.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from training.config import Workspace


def add_option(
    command: argparse.ArgumentParser, name: str, default: str | float | Path, text: str
) -> None:
    """Add an option with a default, whose type is the option's."""
    help_text = f"{text} (default: %(default)s)"
    command.add_argument(name, type=type(default), default=default, help=help_text)


def add_champion(
    command: argparse.ArgumentParser, text: str = "folder of the served model"
) -> None:
    """The option that names the served model."""
    add_option(command, "--champion", served_folder(), text)


def add_capture_store(command: argparse.ArgumentParser) -> None:
    """The option that names the archive of captures."""
    add_option(
        command,
        "--store",
        os.environ.get("DIGITS_CAPTURE_STORE", "captures"),
        "archive of captures, a folder or s3://bucket/prefix; DIGITS_CAPTURE_STORE",
    )


def add_model_store(command: argparse.ArgumentParser) -> None:
    """The option that names the store of promoted champions."""
    add_option(
        command,
        "--model-store",
        os.environ.get("DIGITS_MODEL_STORE", "model-store"),
        "where promoted champions are kept, a folder or s3://bucket/prefix; DIGITS_MODEL_STORE",
    )


def add_data_store(command: argparse.ArgumentParser) -> None:
    """The option that names the data store."""
    command.add_argument(
        "--data-store",
        default=os.environ.get("DIGITS_DATA_STORE", ".work/data"),
        help="where snapshots are kept, a folder or s3://bucket/prefix; DIGITS_DATA_STORE"
        " (default: %(default)s)",
    )


def served_folder() -> Path:
    """The folder that DIGITS_CHAMPION names, as for the service; else the shipped one."""
    named = os.environ.get("DIGITS_CHAMPION") or ""
    return Path("model/champion") if not named or "://" in named else Path(named)


def work_folder() -> Path:
    """The folder of the files between the steps."""
    return Path(os.environ.get("DIGITS_TRAINING_WORK") or Workspace().folder)
