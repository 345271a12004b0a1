"""The options of `snapshot`, `validate` and `data`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from training.shared_options import add_champion, add_data_store, add_model_store


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
    add_champion(validate)
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
    add_model_store(remove)
    add_champion(remove)
    for action in (add, remove, actions.add_parser("list", help="list what was added")):
        add_data_store(action)
