"""Retraining on the data that grew: labelled captures join MNIST, and people hear how it ended.

Edge: asks `python -m monitoring` for the captures, and lets it tell; the two packages meet only in
files. A fifth of the captures, by request, is held out: the gate compares candidate and champion
on it as on every other set.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from training import tracking
from training.config import Workspace
from training.data.datasets import LABELLED, LabelledImages, digest
from training.gate_rules import Verdict

HELD_OUT_BUCKETS = 51  # of 256: a fifth
SET_NAME = "captures"  # of the held-out part, in the evaluation
_WATCH = 1  # severity of the event: a person is asked to look, nobody is woken


@dataclass(frozen=True, slots=True)
class Arrived:
    """Labelled captures that no judged run has been trained on."""

    train: Path
    held_out: Path | None
    num_train: int
    num_held_out: int


def collect(work: Workspace) -> Arrived | str:
    """Fetch the labelled captures from DIGITS_CAPTURE_STORE and split them.

    Returns:
        What arrived, or one sentence that says why there is nothing to train on.
    """
    work.folder.mkdir(parents=True, exist_ok=True)
    whole = work.folder / "labelled.npz"
    _monitoring("labelled", "--out", str(whole))
    with np.load(whole, allow_pickle=False) as saved:
        images, labels, bucket = (saved[name] for name in ("images", "labels", "bucket"))
    is_held_out = bucket < HELD_OUT_BUCKETS
    train = LabelledImages(images[~is_held_out], labels[~is_held_out])
    if not len(train):
        return f"nothing to retrain on: {len(labels)} labelled captures (`monitoring label`)"
    tracking.connect()
    earlier = tracking.was_judged(f"data.{LABELLED}", f"md5:{digest(train)}")
    if earlier is not None:
        return f"nothing new: run {earlier} was trained on these {len(train)} labelled captures"
    paths = work.folder / "labelled_train.npz", work.folder / "labelled_held_out.npz"
    np.savez(paths[0], images=train.images, labels=train.labels)
    np.savez(paths[1], images=images[is_held_out], labels=labels[is_held_out])
    held_out = paths[1] if is_held_out.any() else None
    return Arrived(paths[0], held_out, len(train), int(is_held_out.sum()))


def tell(work: Workspace, arrived: Arrived, verdict: Verdict, *, run_id: str) -> None:
    """Tell people by the sinks of DIGITS_ALERTS; what a sink refuses waits in the outbox."""
    today = datetime.now(UTC).date().isoformat()
    event = {
        "topic": "retrain",
        "severity": _WATCH,
        "title": "Retraining: the candidate passed the gate"
        if verdict.passed
        else "Retraining: the gate refused the candidate; the champion stays",
        "details": [
            f"{arrived.num_train} labelled captures joined, {arrived.num_held_out} were held out",
            *(str(reason) for reason in verdict.failures),
        ],
        "sites": [],
        "since": today,
        "window": today,
        "link": f"MLflow run {run_id}",
        "to_do": "Read its report; promote it if you agree."
        if verdict.passed
        else "Read which floor it missed; label more of what it confuses.",
    }
    path = work.folder / "outcome.json"
    path.write_text(json.dumps(event, indent=1) + "\n")
    _monitoring("tell", str(path), may_fail=True)


def _monitoring(*arguments: str, may_fail: bool = False) -> None:
    subprocess.run([sys.executable, "-m", "monitoring", *arguments], check=not may_fail)
