"""Read and write the files between the steps.

Edge: reads and writes the workspace. Knows nothing about how its numbers are made.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training import fitting, quantization
from training.champion_folder import MailOrigin
from training.config import Workspace
from training.evaluation import judge
from training.evaluation.harm import HarmResult
from training.evaluation.mail import MailResult
from training.evaluation.thresholds import Threshold
from training.gate_verdict import Reason, Verdict
from training.step_error import StepError

RENDER_SEED, RENDER_VALIDATION_SEED = 11, 12
CANDIDATE_FILES = Path("promotable")  # folder among the MLflow run's files


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
    fonts: tuple[str, ...] = ()  # families of the printed digits; none: there were none
    num_crops: int = 0  # rendered for the fit
    warm_start: str | None = None  # sha256 of the weights that it went on from
    averaged: tuple[str, ...] = ()  # runs whose weights it is the mean of
    mail: MailOrigin | None = None  # labelled mail that it was fitted on


def load_fit(work: Workspace) -> FitRecord:
    """Read what `fit` wrote.

    Raises:
        StepError: `fit` has not run.
    """
    if not work.fit.exists():
        raise StepError(f"{work.fit} is missing: run `fit` first")
    saved = json.loads(work.fit.read_text())
    history = tuple(fitting.Epoch(**row) for row in saved.pop("history"))
    families = tuple(saved.pop("fonts", ()))
    averaged = tuple(saved.pop("averaged", ()))
    mail = _mail_origin(saved.pop("mail", None))
    return FitRecord(**saved, history=history, fonts=families, averaged=averaged, mail=mail)


def _mail_origin(row: dict[str, Any] | None) -> MailOrigin | None:
    return MailOrigin(**row | {"quarantined": tuple(row["quarantined"])}) if row else None


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
            "thresholds": tuple(Threshold(**row) for row in saved["thresholds"]),
            "garbage": judge.GarbageResult(**saved["garbage"]) if saved["garbage"] else None,
            "quantisation": quantization.QuantisationChange(**saved["quantisation"]),
            "rendered_quantisation": quantization.QuantisationChange(
                **saved["rendered_quantisation"]
            ),
            "latency": quantization.Latency(**saved["latency"]),
            "harm": tuple(HarmResult(**row) for row in saved["harm"]),
            "judged": _judged(saved["judged"]) if saved["judged"] else None,
            "mail": tuple(MailResult(**row) for row in saved.get("mail", ())),
        }
    )


def _set_result(row: dict[str, Any]) -> judge.SetResult:
    by_class = tuple(row["accuracy_by_class"])  # JSON has lists only
    return judge.SetResult(**row | {"accuracy_by_class": by_class})


def _judged(row: dict[str, Any]) -> judge.Judged:
    lists = {name: tuple(row[name]) for name in ("train_fonts", "held_out_fonts")}
    return judge.Judged(**row | lists)


@dataclass(frozen=True, slots=True)
class HoldsFor:
    """The files and data that a verdict is about; it holds for no other."""

    candidate_sha256: str
    champion_sha256: str | None
    evaluation_sha256: str  # of evaluation.json
    data_sha256: str  # of the names and checksums of all that was judged on


def holds_for(work: Workspace) -> HoldsFor:
    """What a verdict on the workspace's evaluation is about.

    Raises:
        StepError: `evaluate` has not run, or did so before it noted what it judged.
    """
    judged = load_evaluation(work).judged
    if judged is None:
        raise StepError(f"{work.evaluation} does not say what was judged: run `evaluate` again")
    return HoldsFor(
        judged.candidate_sha256,
        judged.champion_sha256,
        evaluation_sha256=sha256(work.evaluation.read_bytes()),
        data_sha256=sha256(json.dumps(dict(judged.data), sort_keys=True).encode()),
    )


def save_verdict(work: Workspace, verdict: Verdict, holds: HoldsFor) -> None:
    """Write the verdict with what it holds for."""
    saved = asdict(verdict) | {"holds_for": asdict(holds)}
    work.verdict.write_text(json.dumps(saved, indent=1) + "\n")


def load_verdict(work: Workspace) -> tuple[Verdict, HoldsFor]:
    """Read what `gate` wrote.

    Raises:
        StepError: `gate` has not run, or did so before it noted what the verdict holds for.
    """
    if not work.verdict.exists():
        raise StepError(f"{work.verdict} is missing: run `gate` first")
    saved = json.loads(work.verdict.read_text())
    if "holds_for" not in saved:
        raise StepError(f"{work.verdict} does not say what it holds for: run `gate` again")
    reasons = tuple(Reason(**row) for row in saved["reasons"])
    return Verdict(reasons, tuple(saved["notes"])), HoldsFor(**saved["holds_for"])


def sha256(data: bytes) -> str:
    """Hexadecimal digest."""
    return hashlib.sha256(data).hexdigest()


def champion_sha256(champion: Path) -> str | None:
    """The served model's checksum; None where there is no champion."""
    path = champion / "model.onnx"
    return sha256(path.read_bytes()) if path.exists() else None


def network_input(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """MNIST images as the network's input: they are framed already, so only scale them."""
    return images[:, None].astype(np.float32) * np.float32(1 / 255)


def write_picture(work: Workspace, name: str, png: bytes) -> None:
    """Write one of the evaluation's pictures."""
    work.pictures.mkdir(parents=True, exist_ok=True)
    (work.pictures / name).write_bytes(png)
