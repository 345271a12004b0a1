"""Fit a champion on labelled mail, with replay so that it forgets nothing else. Pure but for torch.

The labels of mail are few, and most are of rejects: digits that the champion could not read or took
for garbage. They teach what is wrong with it, and a threshold cannot be fitted on them once the
network has seen them. So two networks go on from the champion, each with half of the labels, and
the candidate is the mean of their weights and the champion's. Each half is read by the network that
has not seen it; these reads are the evidence for the thresholds of an office
(`training.evaluation.office_policy`).

Source:
    Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy
    without increasing inference time", 2022.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from training import batches, fitting
from training import network as networks
from training.batches import Part
from training.data.datasets import LabelledImages
from training.data.render import DAMAGED

SCORING_BATCH = 1000
# A site, or a digit, that has a hundredth of the crops gets a tenth of the draws of an equal share.
BALANCE = 0.5


@dataclass(frozen=True, slots=True)
class AdaptConfig:
    """How to go on from a champion; what it gives is in docs/learning.md."""

    num_steps: int = 80  # of each half
    num_mail: int = 64  # images of a batch
    num_raw: int = 32  # MNIST as it is
    num_rendered: int = 96
    peak_lr: float = 5e-4
    weight_decay: float = 0.02
    ema_decay: float = 0.99
    garbage_weight: float = 0.8
    # Most keyed digits are ones that the garbage head refused: they show it what mail looks like.
    mail_garbage_weight: float = 10.0
    # Of the champion in the mean: digits that neither mail nor replay shows are forgotten less.
    champion_share: float = 2 / 3
    seed: int = 7
    num_threads: int = 2


@dataclass(frozen=True, slots=True)
class Mail:
    """Labelled mail. A label is a digit, or GARBAGE_LABEL where there is none to read."""

    images: NDArray[np.uint8]  # (N, 28, 28), what the network sees
    labels: NDArray[np.uint8]  # (N,)
    sites: NDArray[np.str_]  # (N,)
    letters: NDArray[np.str_]  # (N,) crops of one read are never in two halves

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Mail:
        """The chosen rows."""
        return Mail(self.images[rows], self.labels[rows], self.sites[rows], self.letters[rows])


@dataclass(frozen=True, slots=True)
class Replay:
    """What the champion was fitted on: the other part of each batch."""

    raw: LabelledImages  # MNIST as it is
    rendered: LabelledImages  # with damaged digits and garbage


@dataclass(frozen=True, slots=True)
class Adapted:
    """The candidate, and each crop read by the half that had not seen it."""

    network: nn.Module
    logits: NDArray[np.float32] = field(repr=False)  # (N, 10)
    garbage: NDArray[np.float32] = field(repr=False)  # (N,)


def adapt(network: nn.Module, mail: Mail, replay: Replay, config: AdaptConfig) -> Adapted:
    """Go on from a network with labelled mail.

    The same network, mail and config give the same weights on the same machine.

    Args:
        network: the champion's weights; not changed.
        mail: two letters or more.
        replay: what keeps the rest of the champion's skill.
        config: recipe.

    Raises:
        ValueError: the mail is of fewer than two letters.
    """
    is_first = _halves(mail.letters, config.seed)
    if is_first.all() or not is_first.any():
        raise ValueError(f"{len(mail)} crops of one letter cannot be halved; label more mail")
    logits = np.zeros((len(mail), 10), np.float32)
    garbage = np.zeros(len(mail), np.float32)
    halves = []
    for half, rows in enumerate((is_first, ~is_first)):
        seeded = replace(config, seed=config.seed + half)
        fitted = go_on(network, mail.take(rows), replay, seeded)
        shares = [config.champion_share, 1 - config.champion_share]
        halves.append(mean_of([network, fitted], shares))
        logits[~rows], garbage[~rows] = read(halves[-1], mail.images[~rows])
    return Adapted(mean_of(halves), logits, garbage)


def _halves(letters: NDArray[np.str_], seed: int) -> NDArray[np.bool_]:
    """Which crops are in the first half; a letter is in one."""
    distinct, place = np.unique(letters, return_inverse=True)
    is_first = np.zeros(len(distinct), np.bool_)
    is_first[np.random.default_rng(seed).permutation(len(distinct))[: len(distinct) // 2]] = True
    chosen: NDArray[np.bool_] = is_first[place]
    return chosen


def go_on(network: nn.Module, mail: Mail, replay: Replay, config: AdaptConfig) -> nn.Module:
    """Fit one copy of a network on mail and replay; returns the moving average of its weights."""
    torch.manual_seed(config.seed)
    torch.use_deterministic_algorithms(mode=True)
    torch.set_num_threads(config.num_threads)
    rng = np.random.default_rng(config.seed)
    fitted = networks.to_layout(copy.deepcopy(network), torch.channels_last).to(batches.device())
    fitted.train()
    averaged = fitting.moving_average(fitted, config.ema_decay)
    optimiser = torch.optim.AdamW(
        fitted.parameters(), lr=config.peak_lr, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=config.peak_lr, total_steps=config.num_steps, pct_start=0.1
    )
    parts = [
        (Part.of(LabelledImages(mail.images, mail.labels)), config.num_mail, draw_weights(mail)),
        (Part.of(replay.raw), config.num_raw, None),
        (Part.of(replay.rendered), config.num_rendered, None),
    ]
    for _ in range(config.num_steps):
        drawn = [part.take(rng.choice(len(part), num, p=weights)) for part, num, weights in parts]
        images, labels = (torch.cat(both) for both in zip(*drawn, strict=True))
        loss = _loss(config, fitted(batches.jitter_images(images, 1.0, rng)), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        averaged.update_parameters(fitted)
    return _checked(averaged)


def draw_weights(mail: Mail) -> NDArray[np.float64]:
    """Chance of each crop to be drawn: rare digits and small sites more often than their share."""
    weights = np.ones(len(mail))
    for values in (mail.labels, mail.sites):
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        weights *= counts[place] ** -BALANCE
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def _loss(config: AdaptConfig, outputs: object, labels: torch.Tensor) -> torch.Tensor:
    """The loss of `fitting`, but the garbage head learns most from mail."""
    logits, garbage = networks.split_outputs(outputs)
    is_digit = labels < DAMAGED
    loss = functional.cross_entropy(
        logits.float(),
        labels.where(is_digit, fitting.IGNORED),
        ignore_index=fitting.IGNORED,
    )
    if garbage is None:
        return loss
    is_wrong = ~is_digit & (logits.detach().argmax(1) != labels - DAMAGED)
    each = functional.binary_cross_entropy_with_logits(
        garbage[:, 0].float(), is_wrong.float(), reduction="none"
    )
    weights = torch.full_like(each, config.garbage_weight)
    weights[: config.num_mail] = config.mail_garbage_weight
    return loss + (weights * each).mean()


def _checked(averaged: AveragedModel) -> nn.Module:
    """The network on the CPU.

    Raises:
        FloatingPointError: a weight is not a number.
    """
    network: nn.Module = averaged.module.eval().to("cpu")
    if not all(bool(weights.isfinite().all()) for weights in network.parameters()):
        raise FloatingPointError("a weight became infinite; lower peak_lr")
    return network


def mean_of(fitted: Sequence[nn.Module], shares: Sequence[float] | None = None) -> nn.Module:
    """The mean of weights and batch statistics of networks that went on from one."""
    mean = copy.deepcopy(fitted[-1])
    mean.load_state_dict(mean_state([one.state_dict() for one in fitted], shares))
    return mean.eval()


def mean_state(
    states: Sequence[Mapping[str, torch.Tensor]], shares: Sequence[float] | None = None
) -> dict[str, torch.Tensor]:
    """The mean of weights and batch statistics; counters are the last one's.

    Args:
        states: of networks of one shape.
        shares: one for each, of sum 1; equal ones when None.
    """
    each = torch.tensor(shares or [1 / len(states)] * len(states))
    return {
        name: torch.tensordot(each, torch.stack([state[name] for state in states]), dims=1)
        if last.is_floating_point()
        else last
        for name, last in states[-1].items()
    }


@torch.no_grad()
def read(
    network: nn.Module, images: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits (N, 10) and garbage (N,) of (N, 28, 28) images."""
    network.eval()
    logits, garbage = [np.zeros((0, 10), np.float32)], [np.zeros(0, np.float32)]
    for start in range(0, len(images), SCORING_BATCH):
        part = torch.from_numpy(images[start : start + SCORING_BATCH].copy())
        digits, refused = networks.split_outputs(network(part[:, None].float() / 255))
        logits.append(digits.numpy())
        garbage.append(
            np.zeros(len(part), np.float32) if refused is None else refused[:, 0].numpy()
        )
    return np.concatenate(logits), np.concatenate(garbage)
