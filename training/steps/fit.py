"""Step `fit`: fit a network in a new MLflow run and keep its best weights.

Edge: reads MNIST, writes the weights and the learning curve, logs to MLflow.
"""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import nn

from training import fitting, provenance, tracking
from training import network as networks
from training.batches import FitData
from training.config import DataConfig, Workspace
from training.data import fonts, pool_cache, render
from training.data.datasets import LabelledImages, Mnist, load_mnist
from training.evaluation import pictures
from training.step_error import StepError
from training.steps.files import (
    RENDER_SEED,
    RENDER_VALIDATION_SEED,
    FitRecord,
    Interrupted,
    sha256,
    write_picture,
)

logger = logging.getLogger(__name__)

NUM_RENDERED_VALIDATION = 7000


def run(
    config: fitting.FitConfig, rendering: render.RenderConfig, data: DataConfig, work: Workspace
) -> FitRecord:
    """Fit a network in a new MLflow run and keep its best weights.

    Raises:
        Interrupted: Ctrl-C; the best weights so far are saved, and the next steps can run.
    """
    mnist = load_mnist(data)
    build = _builder(config)
    config = fitting.choose_arithmetic(config, build)
    found = fonts.need_fonts(without_fonts=data.without_fonts) if config.augmented else None
    fit_data = load_fit_data(config, rendering, mnist, pools=data.pools)
    tracking.connect()
    with tracking.run(name=f"{config.network}-{config.seed}") as run_id:
        tracking.log_config(config, prefix="fit")
        if config.augmented:
            tracking.log_config(rendering, prefix="render")
        tracking.log_tags(run_tags(mnist))
        fitted = fitting.fit(config, fit_data, on_epoch=report_epoch, build=build)
        record = FitRecord(
            network=config.network,
            run_id=run_id,
            git_commit=provenance.git_commit(),
            created=provenance.now(),
            best_epoch=fitted.best_epoch,
            fonts=fonts.families(found.train) if found else (),
            num_crops=len(fit_data.rendered) if fit_data.rendered else 0,
            warm_start=sha256(config.warm_start.read_bytes()) if config.warm_start else None,
            history=fitted.history,
        )
        work.folder.mkdir(parents=True, exist_ok=True)
        work.mail.unlink(missing_ok=True)  # of an earlier retraining in this folder
        torch.save(fitted.network.state_dict(), work.weights)
        work.fit.write_text(json.dumps(asdict(record), indent=1) + "\n")
        write_picture(work, "learning_curves.png", pictures.learning_curves(fitted.history))
        tracking.log_file(work.weights)
        tracking.log_metrics({"best_epoch": fitted.best_epoch + 1})
    if fitted.interrupted:
        raise Interrupted(
            f"stopped by Ctrl-C after {len(fitted.history)} epochs; the weights of the best, epoch "
            f"{fitted.best_epoch + 1}, are in {work.weights}"
        )
    return record


def _builder(config: fitting.FitConfig) -> Callable[[str], nn.Module]:
    """Makes the network: fresh, or with the weights of an earlier fit.

    Raises:
        StepError: the weights are missing, or are another network's.
    """
    if config.warm_start is None:
        return networks.build
    path = config.warm_start
    try:
        weights = torch.load(path, weights_only=True)
        networks.build(config.network).load_state_dict(weights)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise StepError(
            f"{path} does not start network {config.network!r}: {error}; name the weights.pt that"
            " `fit` wrote for this network"
        ) from error

    def build(name: str) -> nn.Module:
        network = networks.build(name)
        network.load_state_dict(weights)
        return network

    return build


def run_tags(mnist: Mnist) -> dict[str, str]:
    """Commit, data and libraries of a run."""
    tags = {"git_commit": provenance.git_commit()}
    tags |= {f"data.{name}": f"md5:{digest}" for name, digest in mnist.checksums.items()}
    tags |= {f"library.{name}": version for name, version in provenance.library_versions().items()}
    return tags


def load_fit_data(
    config: fitting.FitConfig, rendering: render.RenderConfig, mnist: Mnist, *, pools: Path
) -> FitData:
    """MNIST, and for the augmented recipe the crops rendered from it, or found in `pools`."""
    if config.augmented is None:
        return FitData(mnist.train, mnist.validation, None, None)
    found = fonts.find_fonts()
    glyphs = fonts.draw_digits(found.train) if found else None
    letters = fonts.draw_letters(found.train) if found else None
    validation = replace(
        rendering, num_crops=min(NUM_RENDERED_VALIDATION, rendering.num_crops), glyph_frac=0
    )
    return FitData(
        train=mnist.train,
        validation=mnist.validation,
        rendered=_pool(
            render.Sources(mnist.train, glyphs, letters), rendering, pools, seed=RENDER_SEED
        ),
        rendered_validation=_pool(
            render.Sources(mnist.validation, None, letters),
            validation,
            pools,
            seed=RENDER_VALIDATION_SEED,
            label="render validation",
        ),
    )


def _pool(
    sources: render.Sources,
    config: render.RenderConfig,
    pools: Path,
    *,
    seed: int,
    label: str = "render",
) -> LabelledImages:
    return pool_cache.cached_pool(
        pools,
        sources,
        config,
        seed=seed,
        render=lambda: render.render_pool(sources, config, seed=seed, label=label),
    )


def report_epoch(epoch: fitting.Epoch) -> None:
    """Log an epoch and send its metrics to MLflow."""
    metrics = {
        "train_loss": epoch.train_loss,
        "validation_accuracy": epoch.validation_accuracy,
        "epoch_seconds": epoch.seconds,
    }
    text = f"epoch {epoch.epoch + 1}: loss {epoch.train_loss:.4f}"
    text += f", validation {epoch.validation_accuracy:.2%}"
    if epoch.rendered_validation_accuracy is not None:
        metrics["rendered_validation_accuracy"] = epoch.rendered_validation_accuracy
        text += f", rendered {epoch.rendered_validation_accuracy:.2%}"
    logger.info("%s, %.1f s", text, epoch.seconds)
    tracking.log_metrics(metrics, step=epoch.epoch + 1)
