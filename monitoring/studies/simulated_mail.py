"""Simulated mail: real MNIST digits, rendered by the scanner simulator.

Needs the MNIST cache that training fills. power.py and site_breaker.py use it; the unit tests do
not.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from monitoring.studies.champion_reader import Crops, Labels
from training.config import DataConfig
from training.data.corruptions import CORRUPTIONS
from training.data.datasets import Mnist, load_mnist
from training.data.render import render_digits

SEVERITY: Final = 3  # an ordinary mail piece, as in training's evaluation


@cache
def mnist() -> Mnist:
    """Load MNIST once."""
    return load_mnist(DataConfig())


def reference_mail() -> tuple[Crops, Labels]:
    """Render holdout digits as ordinary mail: the drift reference is made from these."""
    return render_digits(mnist().holdout, severity=SEVERITY, seed=1)


def ordinary_mail(num: int, seed: int) -> tuple[Crops, Labels]:
    """Render test digits, whose writers the reference has not seen, as ordinary mail."""
    part = mnist().test.take(np.random.default_rng(seed).permutation(10_000)[:num])
    return render_digits(part, severity=SEVERITY, seed=seed)


def spoil(crops: Sequence[NDArray[np.uint8]], name: str, severity: float, seed: int) -> Crops:
    """Apply one of the scanner simulator's corruptions to every crop."""
    rng = np.random.default_rng(seed)
    spoiled = []
    for crop in crops:
        grey = CORRUPTIONS[name](crop.astype(np.float32) / np.float32(255), severity, rng)
        spoiled.append(np.clip(grey * 255, 0, 255).round().astype(np.uint8))
    return spoiled
