"""The training command line: one step per sub-command.

Edge: reads arguments and environment, builds each command's config, prints it.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from training.config import DataConfig
from training.datasets import DataError, load_mnist


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    crops = commands.add_parser("crops", help="write tests/data/crops from the MNIST test set")
    crops.add_argument("--folder", type=Path, default=Path("tests/data/crops"))
    crops.set_defaults(command=_crops)
    for command in commands.choices.values():
        _add_data_options(command)
    return parser


def _add_data_options(command: argparse.ArgumentParser) -> None:
    env = os.environ
    group = command.add_argument_group("data")
    group.add_argument("--data-cache", type=Path, default=env.get("DIGITS_DATA_CACHE"))
    group.add_argument("--data-folder", type=Path, default=env.get("DIGITS_DATA_FOLDER"))
    group.add_argument("--data-location", default=env.get("DIGITS_DATA_LOCATION"))


def _data_config(options: argparse.Namespace) -> DataConfig:
    default = DataConfig()
    return DataConfig(
        cache=Path(options.data_cache or default.cache),
        folder=Path(options.data_folder) if options.data_folder else None,
        location=options.data_location,
    )


def _crops(options: argparse.Namespace) -> None:
    from training.crops import write_crops

    num_crops = write_crops(load_mnist(_data_config(options)).test, options.folder)
    print(f"{num_crops} crops in {options.folder}")


if __name__ == "__main__":
    sys.exit(main())
