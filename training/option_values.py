"""What the options of a training command name: a recipe, stores, the sources of data."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from training.config import DataConfig

if TYPE_CHECKING:
    from capture.store import Store
    from training.data.render import RenderConfig
    from training.fitting import FitConfig


def fit_configs(options: argparse.Namespace) -> tuple[FitConfig, RenderConfig]:
    """The recipe that the options choose.

    Raises:
        StepError: for a network that is not in `network.NETWORKS`.
    """
    from training.data.render import RenderConfig
    from training.fitting import PROTOTYPE, WARM_PEAK_LR, FitConfig
    from training.network import NETWORKS
    from training.step_error import StepError

    name = options.network
    if name not in NETWORKS:
        raise StepError(
            f"network {name!r} is not one of {', '.join(NETWORKS)}; "
            "add it to NETWORKS in training/network.py"
        )
    config = PROTOTYPE if name == "prototype" else FitConfig(network=name)
    config = replace(config, seed=options.seed, epochs=options.epochs or config.epochs)
    if options.warm_start:
        config = replace(config, warm_start=options.warm_start)
        if config.augmented:
            config = replace(config, augmented=replace(config.augmented, peak_lr=WARM_PEAK_LR))
    rendering = RenderConfig()
    return config, replace(rendering, num_crops=options.num_crops or rendering.num_crops)


def model_store(options: argparse.Namespace) -> Store:
    """The store of promoted champions. Raises as `store`."""
    return store(options.model_store, "--model-store")


def store(url: str, option: str) -> Store:
    """The store that an option names.

    Raises:
        StepError: it is neither a folder nor a bucket.
    """
    from capture.store import open_store
    from training.step_error import StepError

    try:
        return open_store(url)
    except ValueError as error:
        raise StepError(f"{option}: {error}") from error


def data_config(options: argparse.Namespace) -> DataConfig:
    """Where MNIST and the other sets come from."""
    return DataConfig(
        cache=options.data_cache,
        folder=options.data_folder,
        location=options.data_location,
        semeion=options.semeion,
        without_fonts=options.without_fonts,
    )
