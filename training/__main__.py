"""The training command line: a command for each step, `run` for all of them.

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
    # The libraries send usage reports from their import on, unless these are set before it.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    # Let waiting threads sleep: spinning threads make a fit 50 times slower if another process
    # needs the core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from training.steps.files import Interrupted, StepError

    for name in ("alembic", "onnxscript", "onnx_ir", "torch.onnx"):
        logging.getLogger(name).setLevel(logging.WARNING)
    chosen = _chosen_steps(options)
    try:
        if options.command == "retrain":
            return _retrain(chosen, options)
        if options.command in ("search", "compare", "styles"):
            _run_study(options)
            return 0
        if getattr(options, "seeds", None):
            _run_seeds(chosen, options)
            return 0
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


def _chosen_steps(options: argparse.Namespace) -> Sequence[str]:
    if options.command in ("run", "retrain"):
        return STEPS[: STEPS.index(options.until) + 1]
    if options.command == "try":
        return ("fit", "export", "quantize", "try")
    return (options.command,)


def _retrain(chosen: Sequence[str], options: argparse.Namespace) -> int:
    """Run the steps with newly labelled captures.

    Returns:
        0, also when no capture is new and when the gate refuses the candidate.
    """
    from training.steps import retrain
    from training.steps.files import load_fit, load_verdict

    work = Workspace(options.work)
    captures = retrain.collect(work, options.store)
    if isinstance(captures, str):
        print(captures)
        return 0
    print(captures, flush=True)
    options.labelled = captures.train
    if captures.held_out is not None:
        options.extra.append((retrain.SET_NAME, captures.held_out))
    for step in chosen:
        print(f"== {step}", flush=True)
        passed = _run_step(step, options)
        if step == "gate":
            verdict, _ = load_verdict(work)
            retrain.notify(work, captures, verdict, run_id=load_fit(work).run_id)
        if not passed:
            break  # exit code 0: people were notified, and another attempt would end the same way
    return 0


def _run_study(options: argparse.Namespace) -> None:
    """Run a command that makes no candidate."""
    from training.steps import compare_runs, search, styles_table

    if options.command == "search":
        config, rendering = fit_configs(options)
        search.run(config, rendering, _data_config(options), options.picture)
    elif options.command == "compare":
        compare_runs.run(options.runs, options.pictures)
    else:
        styles_table.run(_data_config(options), options.champion)


def _run_seeds(chosen: Sequence[str], options: argparse.Namespace) -> None:
    """Run the steps once for each seed, in a work folder each, then print mean and spread.

    Raises:
        StepError: the steps go past `evaluate`, where one candidate must be chosen.
    """
    from training.steps import compare_runs
    from training.steps.files import StepError

    if "gate" in chosen:
        raise StepError("--seeds ends at `evaluate` at the latest: add --until evaluate")
    work = options.work
    for seed in options.seeds:
        options.seed, options.work = seed, work / f"{compare_runs.SEED_FOLDER}{seed}"
        for step in chosen:
            print(f"== {step}, seed {seed}", flush=True)
            _run_step(step, options)
    if chosen[-1] in ("evaluate", "try"):
        compare_runs.print_spread(compare_runs.load_seeds(work, options.seeds))


def _run_step(step: str, options: argparse.Namespace) -> bool:
    """True when the next step may follow."""
    from training import gate_rules
    from training.steps import evaluate, export, fetch, fit, gate, promote, quantize, trial

    data, work = _data_config(options), Workspace(options.work)
    if step == "fit":
        config, rendering = fit_configs(options)
        print(config, rendering, data, sep="\n", flush=True)
        fit.run(config, rendering, data, work)
    elif step == "export":
        export.run(data, work)
    elif step == "quantize":
        quantize.run(data, work)
    elif step == "evaluate":
        evaluate.run(data, work, options.champion, extras=dict(options.extra))
    elif step == "gate":
        return gate.run(work, gate_rules.Floors(), options.champion).passed
    elif step == "try":
        trial.run(data, work)
    elif step == "fetch":
        fetch.run(work, options.run)
    else:
        promote.run(data, work, options.champion, why=options.why, move_anchor=options.move_anchor)
    return True


def fit_configs(options: argparse.Namespace) -> tuple[FitConfig, RenderConfig]:
    """The recipe that the options choose.

    Raises:
        StepError: for a network that is not in `network.NETWORKS`.
    """
    from training.data.render import RenderConfig
    from training.fitting import PROTOTYPE, FitConfig
    from training.network import NETWORKS
    from training.steps.files import StepError

    name = options.network
    if name not in NETWORKS:
        raise StepError(
            f"network {name!r} is not one of {', '.join(NETWORKS)}; "
            "add it to NETWORKS in training/network.py"
        )
    config = PROTOTYPE if name == "prototype" else FitConfig(network=name)
    config = replace(config, seed=options.seed, epochs=options.epochs or config.epochs)
    rendering = RenderConfig()
    return config, replace(rendering, num_crops=options.num_crops or rendering.num_crops)


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
    "try": "fit for two minutes on few crops and read validation crops, to compare recipes",
    "compare": "compare evaluated runs crop by crop",
    "styles": "measure how the served model reads each writing style",
    "sheet": "draw a contact sheet of the scanner simulator's crops",
    "crops": "write tests/data/crops from the MNIST test set",
}


def _parser() -> argparse.ArgumentParser:
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
    _add_option(commands.choices["styles"], "--champion", CHAMPION, "folder of the served model")
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
            help="epochs to fit (default: 40; 15 for the prototype; 3 for try)",
        )
        command.add_argument(
            "--num-crops", type=int, help="crops to render (default: 280000; 20000 for try)"
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


def _data_config(options: argparse.Namespace) -> DataConfig:
    return DataConfig(
        cache=options.data_cache,
        folder=options.data_folder,
        location=options.data_location,
        labelled=options.labelled,
        semeion=options.semeion,
        without_fonts=options.without_fonts,
    )


def _draw(options: argparse.Namespace) -> int:
    """Run `crops` or `sheet`, which need no MLflow."""
    try:
        mnist = load_mnist(_data_config(options))
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR
    from training.data import fonts
    from training.data.shipped_crops import write_crops
    from training.evaluation.sheet import draw_sheet

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
