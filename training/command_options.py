"""The commands of `python -m training` and their options.

Edge: reads the environment for defaults.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from training.config import DataConfig, Workspace

CHAMPION = Path("model/champion")
STEPS = ("fit", "export", "quantize", "evaluate", "gate", "promote")
HELP = {
    "fit": "train a network and keep the weights of its best epoch",
    "export": "write fp32.onnx and check that it computes what torch computes",
    "quantize": "write int8.onnx and report what int8 changed",
    "evaluate": "measure the candidate on every test set and register it in MLflow",
    "gate": "compare the candidate with the floors and the champion; exit code 1 when it fails",
    "promote": "make the candidate the champion",
    "run": "run fit, export, quantize, evaluate, gate and promote",
    "retrain": "run all steps with the new labelled captures, and notify people",
    "fetch": "download a candidate that passed the gate in another run or place",
    "search": "compare network shapes: accuracy against latency",
    "try": "fit on few crops for three minutes and read validation crops, to compare recipes",
    "compare": "compare evaluated runs crop by crop",
    "styles": "measure how the served model reads each writing style",
    "harm": "measure what the served model accepts wrongly of each kind of damage",
    "sheet": "draw a contact sheet of the scanner simulator's crops",
    "crops": "write tests/data/crops from the MNIST test set",
}


def build_parser() -> argparse.ArgumentParser:
    """Every command with its options."""
    parser = argparse.ArgumentParser(
        prog="python -m training", description="Train, evaluate and promote the digit model."
    )
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    for name, text in HELP.items():
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if name in (*STEPS, "run", "retrain", "fetch", "try"):
            _add_step_options(name, command)
        _add_data_options(command)
    _add_compare_options(commands.choices["compare"])
    search, sheet, crops = (commands.choices[name] for name in ("search", "sheet", "crops"))
    _add_option(search, "--picture", Path("docs/images/search.png"), "picture to write")
    _add_option(search, "--seed", 7, "seed of the fits")
    _add_option(search, "--epochs", 4, "epochs of each fit")
    _add_option(search, "--num-crops", 60_000, "crops to render for training")
    search.set_defaults(network="default")
    commands.choices["try"].set_defaults(work=Path(".work/try"), epochs=3, num_crops=20_000)
    for name in ("styles", "harm"):
        _add_option(commands.choices[name], "--champion", CHAMPION, "folder of the served model")
    _add_option(sheet, "--picture", Path("docs/images/scanner.png"), "picture to write")
    _add_option(crops, "--folder", Path("tests/data/crops"), "folder to write")
    return parser


def _add_compare_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="work folder, folder of several seeds, or id of an MLflow run; the first is the one"
        " that the others are compared with",
    )
    _add_option(command, "--pictures", Path(".work/compare"), "folder of the pictures to write")


def _add_step_options(name: str, command: argparse.ArgumentParser) -> None:
    _add_option(command, "--work", Workspace().folder, "folder of the files between the steps")
    _add_option(command, "--champion", CHAMPION, "folder of the served model")
    if name in ("fit", "run", "retrain", "try"):
        _add_option(command, "--network", "default", "network to fit, of training/network.py")
        _add_option(command, "--seed", 7, "seed of weights and batches")
        if name != "retrain":
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
        _add_option(command, "--why", "passed the gate", "reason for the promotion log")
        command.add_argument(
            "--move-anchor",
            metavar="REASON",
            help="make this candidate the anchor that later ones are compared with, and say why"
            " (default: the anchor stays)",
        )
    if name in ("run", "retrain"):
        command.add_argument(
            "--until",
            choices=STEPS,
            default="promote",
            help="last step to run (default: %(default)s)",
        )
    if name == "retrain":
        store = os.environ.get("DIGITS_CAPTURE_STORE", "captures")
        _add_option(
            command,
            "--store",
            store,
            "archive of captures, a folder or s3://bucket/prefix; DIGITS_CAPTURE_STORE",
        )


def _add_option(
    command: argparse.ArgumentParser, name: str, default: str | int | Path, text: str
) -> None:
    help_text = f"{text} (default: %(default)s)"
    command.add_argument(name, type=type(default), default=default, help=help_text)


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
        "--labelled",
        type=Path,
        help=".npz file of labelled images that join the training part (default: none)",
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
