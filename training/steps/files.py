"""Read and write the files between the steps.

Edge: reads and writes the workspace. Knows nothing about how its numbers are made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training import fitting, quantization
from training.config import Workspace
from training.evaluation import confidence, judge

RENDER_SEED, RENDER_VALIDATION_SEED = 11, 12
CANDIDATE_FILES = Path("promotable")  # folder among the MLflow run's files


class StepError(RuntimeError):
    """A step cannot run, or its result must not be used; the message says why."""


class Interrupted(StepError):
    """Ctrl-C during the fit; the best weights so far are saved."""


@dataclass(frozen=True, slots=True)
class FitRecord:
    """What `fit` writes for the steps after it."""

    network: str
    run_id: str
    git_commit: str
    created: str
    best_epoch: int
    history: tuple[fitting.Epoch, ...]


def load_fit(work: Workspace) -> FitRecord:
    """Read what `fit` wrote.

    Raises:
        StepError: `fit` has not run.
    """
    if not work.fit.exists():
        raise StepError(f"{work.fit} is missing: run `fit` first")
    saved = json.loads(work.fit.read_text())
    history = tuple(fitting.Epoch(**row) for row in saved.pop("history"))
    return FitRecord(**saved, history=history)


def load_evaluation(work: Workspace) -> judge.Evaluation:
    """Read what `evaluate` wrote.

    Raises:
        StepError: `evaluate` has not run.
    """
    if not work.evaluation.exists():
        raise StepError(f"{work.evaluation} is missing: run `evaluate` first")
    saved = json.loads(work.evaluation.read_text())
    return judge.Evaluation(
        **saved
        | {
            "sets": {name: _set_result(row) for name, row in saved["sets"].items()},
            "thresholds": tuple(confidence.Threshold(**row) for row in saved["thresholds"]),
            "garbage": judge.GarbageResult(**saved["garbage"]) if saved["garbage"] else None,
            "quantisation": quantization.QuantisationChange(**saved["quantisation"]),
            "rendered_quantisation": quantization.QuantisationChange(
                **saved["rendered_quantisation"]
            ),
            "latency": quantization.Latency(**saved["latency"]),
        }
    )


def _set_result(row: dict[str, Any]) -> judge.SetResult:
    by_class = tuple(row["accuracy_by_class"])  # JSON has lists only
    return judge.SetResult(**row | {"accuracy_by_class": by_class})


def network_input(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """MNIST images as the network's input: they are framed already, so only scale them."""
    return images[:, None].astype(np.float32) * np.float32(1 / 255)


def write_picture(work: Workspace, name: str, png: bytes) -> None:
    """Write one of the evaluation's pictures."""
    work.pictures.mkdir(parents=True, exist_ok=True)
    (work.pictures / name).write_bytes(png)
