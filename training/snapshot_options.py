"""The options of `snapshot`, `validate` and `data`.

Edge: reads the environment for defaults.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path


def served_folder() -> Path:
    """The folder that DIGITS_CHAMPION names, as for the service; else the shipped one."""
    named = os.environ.get("DIGITS_CHAMPION") or ""
    return Path("model/champion") if not named or "://" in named else Path(named)


def add_to(commands: Mapping[str, argparse.ArgumentParser]) -> None:
    """Add the options to the parsers of these commands, by name."""
    snapshot, validate = commands["snapshot"], commands["validate"]
    for command in (snapshot, validate):
        command.add_argument(
            "--as-of",
            required=True,
            metavar="MONTH",
            help="for example 2026-11: what was read and labelled until its end, UTC",
        )
        add_data_store(command)
    _add_champion(validate)
    validate.add_argument(
        "--page",
        type=Path,
        default=Path(".work/validation.html"),
        help="page to write (default: %(default)s)",
    )
    validate.add_argument(
        "--stop-on-quarantine",
        action="store_true",
        help="refuse the snapshot where a source is quarantined (default: go on without it)",
    )
    _add_set_options(commands["data"])


def _add_set_options(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(required=True, metavar="action", dest="action")
    add = actions.add_parser("add", help="add labelled crops; they join the next snapshot")
    add.add_argument(
        "path",
        type=Path,
        help="a folder with sub-folders 0 to 9 of PNG or JPEG crops, an .npz file with images and"
        " labels, or a Parquet file with columns png and label",
    )
    add.add_argument("--name", required=True, help="what the set is called")
    add.add_argument(
        "--site", default="", help="office that the crops come from (default: the name)"
    )
    remove = actions.add_parser("remove", help="erase a set, from the snapshots too")
    remove.add_argument("name", help="of the set")
    remove.add_argument(
        "--model-store",
        default=os.environ.get("DIGITS_MODEL_STORE", "model-store"),
        help="where promoted champions are kept; DIGITS_MODEL_STORE (default: %(default)s)",
    )
    _add_champion(remove)
    for action in (add, remove, actions.add_parser("list", help="list what was added")):
        add_data_store(action)


def add_data_store(command: argparse.ArgumentParser) -> None:
    """The option that names the data store."""
    command.add_argument(
        "--data-store",
        default=os.environ.get("DIGITS_DATA_STORE", ".work/data"),
        help="where snapshots are kept, a folder or s3://bucket/prefix; DIGITS_DATA_STORE"
        " (default: %(default)s)",
    )


def _add_champion(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--champion",
        type=Path,
        default=served_folder(),
        help="folder of the served model (default: %(default)s)",
    )
