"""The training command line: fit, export, quantize, evaluate, gate, promote, or `run` for all.

Edge: reads arguments and environment, builds each command's config, prints it.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from training.config import DataConfig, Workspace
from training.data.datasets import load_mnist
from training.data.mnist_files import DataError

if TYPE_CHECKING:
    from training.data.render import RenderConfig
    from training.fitting import FitConfig

CHAMPION = Path("model/champion")
STEPS = ("fit", "export", "quantize", "evaluate", "gate", "promote")
EXIT_GATE, EXIT_ERROR, EXIT_INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 1 when the gate refuses, 2 on errors."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    options = _parser().parse_args(arguments)
    if options.command in ("crops", "sheet"):
        return _draw(options)
    # The libraries report home unless told otherwise, from the moment that they are imported.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    # Waiting threads must sleep: spinning ones cost 50x when another process wants the core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from training.steps.files import Interrupted, StepError

    for name in ("alembic", "onnxscript", "onnx_ir", "torch.onnx"):
        logging.getLogger(name).setLevel(logging.WARNING)
    chosen = (
        STEPS[: STEPS.index(options.until) + 1]
        if options.command in ("run", "retrain")
        else [options.command]
    )
    try:
        if options.command == "retrain":
            return _retrain(chosen, options)
        for step in chosen:
            print(f"== {step}", flush=True)
            if not _run_step(step, options):
                return EXIT_GATE
    except Interrupted as error:
        print(f"interrupted: {error}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (DataError, StepError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR
    return 0


def _retrain(chosen: Sequence[str], options: argparse.Namespace) -> int:
    """Run the steps on the data that grew; 0 also when nothing did, or when the gate refuses."""
    from training import gate_rules
    from training.steps import retrain
    from training.steps.files import load_evaluation, load_fit

    work = Workspace(options.work)
    arrived = retrain.collect(work, options.store)
    if isinstance(arrived, str):
        print(arrived)
        return 0
    print(arrived, flush=True)
    options.labelled = arrived.train
    if arrived.held_out is not None:
        options.extra.append((retrain.SET_NAME, arrived.held_out))
    for step in chosen:
        print(f"== {step}", flush=True)
        passed = _run_step(step, options)
        if step == "gate":
            verdict = gate_rules.judge(load_evaluation(work), gate_rules.Floors())
            retrain.notify(work, arrived, verdict, run_id=load_fit(work).run_id)
        if not passed:
            break  # people were told; another attempt would end the same way
    return 0


def _run_step(step: str, options: argparse.Namespace) -> bool:
    """True when the next step may follow."""
    from training import gate_rules
    from training.steps import evaluate, export, fetch, fit, gate, promote, quantize, search

    if step == "search":
        config, rendering = _fit_configs(options)
        search.run(config, rendering, _data_config(options), options.picture)
        return True
    data, work = _data_config(options), Workspace(options.work)
    if step == "fit":
        config, rendering = _fit_configs(options)
        print(config, rendering, data, sep="\n", flush=True)
        fit.run(config, rendering, data, work)
    elif step == "export":
        export.run(data, work)
    elif step == "quantize":
        quantize.run(data, work)
    elif step == "evaluate":
        evaluate.run(data, work, options.champion, extras=dict(options.extra))
    elif step == "gate":
        return gate.run(work, gate_rules.Floors()).passed
    elif step == "fetch":
        fetch.run(work, options.run)
    else:
        promote.run(data, work, options.champion, why=options.why)
    return True


def _fit_configs(options: argparse.Namespace) -> tuple[FitConfig, RenderConfig]:
    from training.data.render import RenderConfig
    from training.fitting import PROTOTYPE, FitConfig

    config = PROTOTYPE if options.network == "prototype" else FitConfig()
    config = replace(config, seed=options.seed, epochs=options.epochs or config.epochs)
    rendering = RenderConfig()
    return config, replace(rendering, num_crops=options.num_crops or rendering.num_crops)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    helps = {
        "fit": "train a network and keep its best epoch",
        "export": "write fp32.onnx and compare it with torch",
        "quantize": "write int8.onnx and say what it changed",
        "evaluate": "judge the candidate on every set and register it",
        "gate": "compare with floors and champion",
        "promote": "make the candidate the champion",
        "run": "all of these",
        "retrain": "the same with the labelled captures that arrived, telling people the outcome",
        "fetch": "get a candidate that passed the gate in another run or place",
    }
    for name, text in helps.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--work", type=Path, default=Workspace().folder)
        command.add_argument("--champion", type=Path, default=CHAMPION)
        _add_data_options(command)
        if name in ("fit", "run", "retrain"):
            command.add_argument("--network", choices=("default", "prototype"), default="default")
            command.add_argument("--seed", type=int, default=7)
            command.add_argument("--epochs", type=int)
            command.add_argument("--num-crops", type=int, help="rendered for training")
        if name in ("evaluate", "run", "retrain"):
            command.add_argument(
                "--extra",
                type=_named_path,
                action="append",
                default=[],
                metavar="NAME=PATH",
                help="own labelled crops: a folder with sub-folders 0-9, or .npz images/labels",
            )
        if name == "fetch":
            command.add_argument("run", help="the run's id in MLflow (MLFLOW_TRACKING_URI)")
        if name in ("promote", "run", "retrain"):
            command.add_argument("--why", default="passed the gate", help="for the promotion log")
        if name in ("run", "retrain"):
            command.add_argument("--until", choices=STEPS, default="promote")
        if name == "retrain":
            command.add_argument(
                "--store",
                default=os.environ.get("DIGITS_CAPTURE_STORE", "captures"),
                help="archive of captures: folder or s3://bucket/prefix",
            )
    search = commands.add_parser("search", help="try network shapes, accuracy against latency")
    search.add_argument("--picture", type=Path, default=Path("docs/images/search.png"))
    search.add_argument("--seed", type=int, default=7)
    search.add_argument("--epochs", type=int, default=4)
    search.add_argument("--num-crops", type=int, default=60_000)
    search.set_defaults(network="default")
    _add_data_options(search)
    sheet = commands.add_parser("sheet", help="draw the scanner simulator's contact sheet")
    sheet.add_argument("--picture", type=Path, default=Path("docs/images/scanner.png"))
    _add_data_options(sheet)
    crops = commands.add_parser("crops", help="write tests/data/crops from the MNIST test set")
    crops.add_argument("--folder", type=Path, default=Path("tests/data/crops"))
    _add_data_options(crops)
    return parser


def _named_path(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if not (name and separator and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, Path(path)


def _add_data_options(command: argparse.ArgumentParser) -> None:
    env = os.environ
    group = command.add_argument_group("data")
    group.add_argument("--data-cache", type=Path, default=env.get("DIGITS_DATA_CACHE"))
    group.add_argument("--data-folder", type=Path, default=env.get("DIGITS_DATA_FOLDER"))
    group.add_argument("--data-location", default=env.get("DIGITS_DATA_LOCATION"))
    group.add_argument("--labelled", type=Path, help=".npz that joins the training part")


def _data_config(options: argparse.Namespace) -> DataConfig:
    default = DataConfig()
    return DataConfig(
        cache=Path(options.data_cache or default.cache),
        folder=Path(options.data_folder) if options.data_folder else None,
        location=options.data_location,
        labelled=options.labelled,
    )


def _draw(options: argparse.Namespace) -> int:
    from training.data import fonts
    from training.data.shipped_crops import write_crops
    from training.evaluation.sheet import draw_sheet

    try:
        mnist = load_mnist(_data_config(options))
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR
    if options.command == "crops":
        print(f"{write_crops(mnist.test, options.folder)} crops in {options.folder}")
        return 0
    found = fonts.find_fonts()
    letters = fonts.draw_letters(found.train) if found else None
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    draw_sheet(mnist.validation, letters).save(options.picture, optimize=True)
    print(f"contact sheet in {options.picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
