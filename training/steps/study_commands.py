"""Run the commands beside the chain from fit to promotion: studies, and drawing of crops.

Imports what a command needs when it runs: torch and MLflow take seconds.
"""

from __future__ import annotations

import argparse

from training import option_values
from training.config import FieldConfig, Workspace, YearConfig
from training.data.datasets import load_mnist

STUDIES = ("search", "average", "compare", "styles", "harm", "replay", "year", "field")
DRAWINGS = ("crops", "sheet")


def run_study(options: argparse.Namespace) -> None:
    """Run one of STUDIES."""
    from training.steps import average, compare_runs, harm_table, replay, search, styles_table

    if options.command == "replay":
        replayed = replay.run(
            options.candidate,
            options.champion,
            option_values.store(options.store, "--store"),
            days=options.days,
            listing=options.list,
            picture=options.picture,
        )
        print(replayed)
    elif options.command == "year":
        print(_run_year(options))
    elif options.command == "field":
        _run_field(options)
    elif options.command == "average":
        average.run(options.fits, Workspace(options.work))
    elif options.command == "compare":
        compare_runs.run(options.runs, options.pictures)
    elif options.command == "search":
        config, rendering = option_values.fit_configs(options)
        search.run(config, rendering, option_values.data_config(options), options.picture)
    elif options.command == "harm":
        harm_table.run(option_values.data_config(options), options.champion)
    else:
        styles_table.run(option_values.data_config(options), options.champion)


def _run_year(options: argparse.Namespace) -> str:
    from training.studies import year_command

    config = YearConfig(
        mail=options.mail,
        num_months=options.months,
        num_crops=options.num_crops,
        num_orders=options.orders,
        num_replay=options.num_replay,
        num_steps=options.steps,
        audit_frac=options.audit[0],
        seed=options.seed,
    )
    return year_command.run(
        option_values.data_config(options),
        options.champion,
        config,
        audit_fracs=options.audit[1:],
        report=options.report,
        out=options.out,
    )


def _run_field(options: argparse.Namespace) -> None:
    from training.studies import field_command

    config = FieldConfig(options.num_fields, options.seed, options.picture, options.fit)
    field_command.run(option_values.data_config(options), options.champion, config)


def draw(options: argparse.Namespace) -> None:
    """Run one of DRAWINGS, which need no MLflow.

    Raises:
        DataError: MNIST cannot be had.
    """
    mnist = load_mnist(option_values.data_config(options))
    from training.data import fonts
    from training.data.shipped_crops import write_crops
    from training.evaluation.sheet import draw_sheet

    if options.command == "crops":
        print(f"{write_crops(mnist.test, options.folder)} crops in {options.folder}")
        return
    found = fonts.find_fonts()
    letters = fonts.draw_letters(found.train) if found else None
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    draw_sheet(mnist.validation, letters).save(options.picture, optimize=True)
    print(f"contact sheet in {options.picture}")
