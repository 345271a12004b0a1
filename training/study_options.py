"""The options of the studies: what measures or draws, beside the chain from fit to promotion."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from training.config import FieldConfig, YearConfig
from training.shared_options import (
    add_capture_store,
    add_champion,
    add_option,
    work_folder,
)


def add_to(commands: Mapping[str, argparse.ArgumentParser]) -> None:
    """Add the options to the parsers of these commands, by name."""
    _add_compare_options(commands["compare"])
    _add_search_options(commands["search"])
    average = commands["average"]
    average.add_argument("fits", nargs="+", type=Path, metavar="FIT", help="work folder of a fit")
    add_option(average, "--work", work_folder(), "folder to write the mean to")
    _add_replay_options(commands["replay"])
    _add_year_options(commands["year"])
    _add_field_options(commands["field"])
    for name in ("styles", "harm", "field"):
        add_champion(commands[name])
    add_option(commands["sheet"], "--picture", Path("docs/images/scanner.png"), "picture to write")
    add_option(commands["crops"], "--folder", Path("tests/data/crops"), "folder to write")


def _add_search_options(command: argparse.ArgumentParser) -> None:
    add_option(command, "--picture", Path("docs/images/search.png"), "picture to write")
    add_option(command, "--seed", 7, "seed of the fits")
    add_option(command, "--epochs", 4, "epochs of each fit")
    add_option(command, "--num-crops", 60_000, "crops to render for training")
    command.set_defaults(network="default")


def _add_compare_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="work folder, folder of several seeds, or id of an MLflow run; the first is the one"
        " that the others are compared with",
    )
    add_option(command, "--pictures", Path(".work/compare"), "folder of the pictures to write")


def _add_replay_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--candidate",
        type=Path,
        default=work_folder(),
        help="work folder that has been evaluated, or a champion folder (default: %(default)s)",
    )
    add_option(command, "--days", 7, "days of mail to read")
    add_option(command, "--list", Path("replay.csv"), "CSV file of the differences to write")
    add_option(command, "--picture", Path("replay.png"), "picture of the differences to write")
    add_champion(command)
    add_capture_store(command)


def _add_year_options(command: argparse.ArgumentParser) -> None:
    config = YearConfig()
    command.add_argument(
        "--mail",
        type=Path,
        help="real labelled mail: a Parquet file with the columns png and label, a folder with one,"
        " or a folder with sub-folders 0 to 9 (default: synthetic mail)",
    )
    add_option(command, "--months", config.num_months, "months of the year")
    add_option(command, "--num-crops", config.num_crops, "largest number of synthetic crops")
    add_option(command, "--num-replay", config.num_replay, "rendered crops that keep old skill")
    add_option(command, "--steps", config.num_steps, "steps of each half of a retraining")
    add_option(command, "--orders", config.num_orders, "orders of the crops; the median is shown")
    command.add_argument(
        "--audit",
        type=float,
        nargs="+",
        metavar="SHARE",
        default=[config.audit_frac],
        help="share of the accepted reads that people key; further shares are tried on the first"
        " order (default: %(default)s)",
    )
    add_option(command, "--seed", config.seed, "seed of mail, people and fits")
    add_option(command, "--report", Path(".work/year"), "folder of the chart and the table")
    command.add_argument(
        "--out", type=Path, help="folder to write the last model to (default: it is not written)"
    )
    add_champion(command, "folder of the model that the year begins with")


def _add_field_options(command: argparse.ArgumentParser) -> None:
    config = FieldConfig()
    add_option(command, "--num-fields", config.num_fields, "fields of each kind")
    add_option(command, "--seed", config.seed, "seed of the fields")
    add_option(command, "--picture", config.picture, "picture of failures to write")
    command.add_argument(
        "--fit",
        choices=("all", "cuts"),
        help="fit the weights of model/field_paths.py, all or those of cut pieces, and print them",
    )
