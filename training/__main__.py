"""The training command line: a command for each step, `run` for all of them.

Edge: builds each command's config from its options (`training.command_options`), prints it.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from training import option_values
from training.command_options import RETRAIN_STEPS, STEPS, build_parser
from training.config import Workspace
from training.data.mnist_files import DataError
from training.steps import study_commands

OF_DATA = ("snapshot", "validate", "data")
OF_CHAMPIONS = ("rollback", "history", "recall")
EXIT_GATE, EXIT_ERROR, EXIT_INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 1 when the gate refuses, 2 on errors."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    options = build_parser().parse_args(arguments)
    if options.command in study_commands.DRAWINGS:
        return _draw(options)
    # The libraries send usage reports from their import on, unless these are set before it.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    # Let waiting threads sleep: spinning threads make a fit 50 times slower if another process
    # needs the core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from capture.store import StoreError
    from model.errors import ArtifactRefused
    from training.model_store import VersionError
    from training.step_error import StepError
    from training.steps.files import Interrupted
    from training.steps.workspace_lock import hold

    for name in ("alembic", "onnxscript", "onnx_ir", "torch.onnx"):
        logging.getLogger(name).setLevel(logging.WARNING)
    chosen = _chosen_steps(options)
    try:
        if options.command in OF_DATA:
            from training.snapshots import data_commands

            return data_commands.run(options)
        if options.command in OF_CHAMPIONS:
            _run_of_champions(options)
            return 0
        if options.command in study_commands.STUDIES and options.command != "average":
            study_commands.run_study(options)
            return 0
        with hold(options.work):
            return _run_in_workspace(chosen, options)
    except Interrupted as error:
        print(f"interrupted: {error}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (DataError, StepError, VersionError, StoreError, ArtifactRefused) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR


def _draw(options: argparse.Namespace) -> int:
    try:
        study_commands.draw(options)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR
    return 0


def _run_in_workspace(chosen: Sequence[str], options: argparse.Namespace) -> int:
    """Run what writes a candidate's files."""
    if options.command == "retrain":
        return _retrain(chosen, options)
    if options.command == "average":
        study_commands.run_study(options)
        return 0
    return _run_steps(chosen, options)


def _run_steps(chosen: Sequence[str], options: argparse.Namespace) -> int:
    if getattr(options, "seeds", None):
        _run_seeds(chosen, options)
        return 0
    for step in chosen:
        print(f"== {step}", flush=True)
        if not _run_step(step, options):
            return EXIT_GATE
    return 0


def _chosen_steps(options: argparse.Namespace) -> Sequence[str]:
    if options.command == "run":
        return STEPS[: STEPS.index(options.until) + 1]
    if options.command == "retrain":
        return RETRAIN_STEPS[: RETRAIN_STEPS.index(options.until) + 1]
    if options.command == "try":
        return ("fit", "export", "quantize", "try")
    return (options.command,)


def _retrain(chosen: Sequence[str], options: argparse.Namespace) -> int:
    """Run a month's retraining; returns 0, also when the gate refuses and when nothing is new."""
    from training.adapting import AdaptConfig
    from training.data.render import RenderConfig
    from training.steps import retrain

    config = retrain.RetrainConfig(
        as_of=options.as_of,
        adapt=AdaptConfig(seed=options.seed),
        rendering=RenderConfig(num_crops=options.num_crops),
        stop_on_quarantine=options.stop_on_quarantine,
        force=options.force,
    )
    places = retrain.Places(
        archive=option_values.store(options.store, "--store"),
        data_store=option_values.store(options.data_store, "--data-store"),
        data=option_values.data_config(options),
        work=Workspace(options.work),
        champion=options.champion,
    )
    print(config, flush=True)
    retrain.run(config, places, chosen, run_step=lambda step: _run_step(step, options))
    return 0


def _run_of_champions(options: argparse.Namespace) -> None:
    """Show the champions, bring one back, or read again what one accepted."""
    from training.steps import recall, rollback

    if options.command == "history":
        print(rollback.history(options.champion, option_values.model_store(options)))
    elif options.command == "rollback":
        to_version, why = options.to, options.why
        rollback.run(
            options.champion, option_values.model_store(options), to_version=to_version, why=why
        )
    else:
        recalled = recall.run(
            options.champion,
            option_values.store(options.store, "--store"),
            since=options.since,
            version=options.version,
            listing=options.list,
        )
        print(recalled)


def _run_seeds(chosen: Sequence[str], options: argparse.Namespace) -> None:
    """Run the steps once for each seed, in a work folder each, then print mean and spread.

    Raises:
        StepError: the steps go past `evaluate`, where one candidate must be chosen.
    """
    from training.step_error import StepError
    from training.steps import compare_runs

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

    data, work = option_values.data_config(options), Workspace(options.work)
    if step == "fit":
        config, rendering = option_values.fit_configs(options)
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
        store, why = option_values.model_store(options), options.why
        promote.run(data, work, options.champion, store, why=why, move_anchor=options.move_anchor)
    return True


if __name__ == "__main__":
    sys.exit(main())
