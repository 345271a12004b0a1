"""Fit a network from a seed and keep the weights that were best on validation.

Knows nothing about files, MLflow or ONNX. Never sees the test set.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from training import batches
from training import network as networks
from training.batches import FitData, Part
from training.data.render import DAMAGED

EVALUATION_BATCH = 1000
IGNORED = -100  # a label without digit loss
WARM_PEAK_LR = 2e-3  # of a fit that goes on from earlier weights


@dataclass(frozen=True, slots=True)
class Augmented:
    """The default network's recipe, where it differs from the prototype's."""

    raw_frac: float = 0.28  # of each batch: MNIST as it is; the rest is rendered
    peak_lr: float = 4e-3  # AdamW, one cycle
    weight_decay: float = 0.02
    ema_decay: float = 0.998
    garbage_weight: float = 0.8
    # None: what is faster here. With AVX-512 bfloat16, a batch of 256 takes 26 ms, in float32 43;
    # on a processor with AVX2 alone 960 and 106 (docs/measurements/experiments-2026-11.md).
    bfloat16: bool | None = None
    jitter: float = 1.0  # scale of the small affine moves drawn anew in every epoch


@dataclass(frozen=True, slots=True)
class FitConfig:
    """One fit. `augmented` is None for the prototype's plain recipe."""

    network: str = "default"
    seed: int = 7
    epochs: int = 80
    batch_size: int = 256
    learning_rate: float = 1e-3  # Adam, the plain recipe only
    augmented: Augmented | None = field(default_factory=Augmented)
    num_threads: int = 2
    warm_start: Path | None = None  # weights of an earlier fit to go on from


PROTOTYPE = FitConfig(network="prototype", epochs=15, batch_size=128, augmented=None)


@dataclass(frozen=True, slots=True)
class Epoch:
    """One row of the learning curve."""

    epoch: int
    train_loss: float
    validation_accuracy: float
    rendered_validation_accuracy: float | None
    seconds: float
    # Accuracy over the digits of both sets together; the epoch with the highest is the best. Their
    # mean would let two of 1,400 clean digits outweigh eight of 5,000 rendered ones.
    score: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """The network with the weights of its best epoch."""

    network: nn.Module
    history: tuple[Epoch, ...]
    best_epoch: int
    interrupted: bool


def choose_arithmetic(
    config: FitConfig, build: Callable[[str], nn.Module] = networks.build
) -> FitConfig:
    """Decide between bfloat16 and float32 by a few steps of each, where the config leaves it open.

    Edge: reads the clock.
    """
    recipe = config.augmented
    if recipe is None or recipe.bfloat16 is not None or batches.device().type != "cpu":
        return config
    torch.set_num_threads(config.num_threads)
    seconds = {}
    for in_bfloat16 in (False, True):
        network = networks.to_layout(build(config.network), torch.channels_last)
        images = torch.zeros(config.batch_size, 1, 28, 28)
        for step in range(4):
            if step == 1:  # the first one prepares
                started = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16):
                logits, _ = networks.split_outputs(network(images))
            logits.float().sum().backward()  # type: ignore[no-untyped-call]
        seconds[in_bfloat16] = time.perf_counter() - started
    faster = seconds[True] < seconds[False]
    return replace(config, augmented=replace(recipe, bfloat16=faster))


def fit(
    config: FitConfig,
    data: FitData,
    *,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
    build: Callable[[str], nn.Module] = networks.build,
) -> Fitted:
    """Fit one network; the same config and data give the same weights on the same machine.

    Ctrl-C ends the fit early and keeps the best weights so far.

    Args:
        config: recipe.
        data: training and validation images.
        on_epoch: called after each epoch.
        build: makes the network from its name.

    Raises:
        KeyboardInterrupt: Ctrl-C before the end of the first epoch; there is nothing to keep.
    """
    torch.manual_seed(config.seed)
    torch.use_deterministic_algorithms(mode=True)
    torch.set_num_threads(config.num_threads)
    network = networks.to_layout(build(config.network), torch.channels_last).to(batches.device())
    best, best_score, best_epoch = copy.deepcopy(network), -1.0, -1
    history: list[Epoch] = []
    interrupted = False
    try:
        for epoch, evaluated in _epochs(config, data, network):
            history.append(epoch)
            on_epoch(epoch)
            if epoch.score > best_score:
                best, best_score, best_epoch = copy.deepcopy(evaluated), epoch.score, epoch.epoch
    except KeyboardInterrupt:
        if not history:
            raise
        interrupted = True
    return Fitted(best.eval().to("cpu"), tuple(history), best_epoch, interrupted)


def _epochs(
    config: FitConfig, data: FitData, network: nn.Module
) -> Iterator[tuple[Epoch, nn.Module]]:
    """Train epoch by epoch; yields the learning curve and the network to keep."""
    rng = np.random.default_rng(config.seed)
    train, validation = Part.of(data.train), Part.of_digits(data.validation)
    rendered = Part.of(data.rendered) if data.rendered else None
    rendered_validation = (
        Part.of_digits(data.rendered_validation) if data.rendered_validation else None
    )
    steps_per_epoch = batches.num_steps(train, config.batch_size)
    optimiser, schedule = _optimiser(config, network, config.epochs * steps_per_epoch)
    averaged = moving_average(network, config.augmented.ema_decay) if config.augmented else None
    evaluated = network if averaged is None else averaged.module
    in_bfloat16 = _is_in_bfloat16(config)
    for number in range(config.epochs):
        started = time.perf_counter()
        network.train()
        total = torch.zeros((), device=batches.device())
        label = f"epoch {number + 1}/{config.epochs}"
        with tqdm(
            total=steps_per_epoch, desc=label, unit="batch", leave=False, mininterval=0.5
        ) as bar:
            for images, labels in _batches(config, train, rendered, rng):
                with torch.autocast(batches.device().type, torch.bfloat16, enabled=in_bfloat16):
                    outputs = network(images)
                loss = _loss(config, outputs, labels)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                if schedule is not None:
                    schedule.step()
                if averaged is not None:
                    averaged.update_parameters(network)
                total += loss.detach()  # no .item(): it would wait for a GPU
                bar.update()
        train_loss = float(total) / steps_per_epoch
        right = _count_right(evaluated, validation), _count_right(evaluated, rendered_validation)
        yield _measured(*right, number, train_loss, started), evaluated


def _batches(
    config: FitConfig, train: Part, rendered: Part | None, rng: np.random.Generator
) -> Iterator[batches.Batch]:
    recipe = config.augmented
    if recipe is None or rendered is None:
        return batches.plain(train, config.batch_size, rng)
    return batches.mixed(
        train,
        rendered,
        config.batch_size,
        rng,
        raw_frac=recipe.raw_frac,
        jitter=recipe.jitter,
    )


def _is_in_bfloat16(config: FitConfig) -> bool:
    """False, too, where nobody has chosen: float32 is never very slow."""
    return bool(config.augmented and config.augmented.bfloat16)


def moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average of weights and batch statistics, faster in the first steps."""

    def average(mean: torch.Tensor, value: torch.Tensor, num: torch.Tensor | int) -> torch.Tensor:
        if not mean.is_floating_point():
            return value
        step = int(num) + 1
        return mean.lerp(value, 1 - min(decay, (1 + step) / (10 + step)))

    return AveragedModel(network, avg_fn=average, use_buffers=True)


def _optimiser(
    config: FitConfig, network: nn.Module, num_steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.OneCycleLR | None]:
    recipe = config.augmented
    if recipe is None:
        return torch.optim.Adam(network.parameters(), lr=config.learning_rate), None
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=recipe.peak_lr, weight_decay=recipe.weight_decay
    )
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=recipe.peak_lr, total_steps=num_steps, pct_start=0.2
    )


def _loss(config: FitConfig, outputs: object, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the digits, plus what a garbage head adds.

    Garbage has no digit loss. Nor has a damaged digit: the network's answer to it stays what it
    would be on damage that it has never seen, and the garbage head learns whether it is wrong.
    """
    logits, garbage = networks.split_outputs(outputs)
    logits = logits.float()
    is_digit = labels < DAMAGED
    recipe = config.augmented
    loss = functional.cross_entropy(logits, labels.where(is_digit, IGNORED), ignore_index=IGNORED)
    if recipe is None or garbage is None:
        return loss
    is_wrong = ~is_digit & (logits.detach().argmax(1) != labels - DAMAGED)
    return loss + recipe.garbage_weight * functional.binary_cross_entropy_with_logits(
        garbage.float(), is_wrong.float()[:, None]
    )


def _measured(
    clean: tuple[int, int],
    rendered: tuple[int, int],
    number: int,
    train_loss: float,
    started: float,
) -> Epoch:
    """The row of the learning curve from (right, all) digits of both validation sets."""
    if not math.isfinite(train_loss):
        raise FloatingPointError(f"the loss is {train_loss} in epoch {number + 1}; lower peak_lr")
    return Epoch(
        epoch=number,
        train_loss=train_loss,
        validation_accuracy=clean[0] / clean[1],
        rendered_validation_accuracy=rendered[0] / rendered[1] if rendered[1] else None,
        seconds=time.perf_counter() - started,
        score=(clean[0] + rendered[0]) / (clean[1] + rendered[1]),
    )


@torch.no_grad()
def _count_right(network: nn.Module, part: Part | None) -> tuple[int, int]:
    """Digits that are read right, and all digits."""
    if part is None:
        return 0, 0
    network.eval()
    num_right = 0
    for rows in np.array_split(np.arange(len(part)), -(-len(part) // EVALUATION_BATCH)):
        images, labels = part.take(rows)
        logits, _ = networks.split_outputs(network(images))
        num_right += int((logits.argmax(1) == labels).sum())
    return num_right, len(part)
