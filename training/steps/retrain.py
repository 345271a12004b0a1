"""Step `retrain`: train with labelled captures and MNIST; notify people of the outcome.

Edge: reads the capture store, writes the two parts of its labelled captures, and starts
`python -m monitoring tell`, because alerts are monitoring's. A fifth of the captures, chosen by
request, is held out: the gate compares candidate and champion on it as on every other set.
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
from training.gate_verdict import Verdict
from training.steps.files import StepError

HELD_OUT_BUCKETS = 51  # of 256: a fifth
SET_NAME = "captures"  # of the held-out part, in the evaluation
_WATCH = 1  # severity of the event: a person should look in office hours


@dataclass(frozen=True, slots=True)
class NewLabelledCaptures:
    """Labelled captures not yet used by any run that reached the gate."""

    train: Path
    held_out: Path | None
    num_train: int
    num_held_out: int

    def __str__(self) -> str:
        num = self.num_train + self.num_held_out
        return (
            f"{num} labelled captures: {self.num_train} to train on, {self.num_held_out} held out"
        )


def collect(work: Workspace, store: str, *, force: bool) -> NewLabelledCaptures | str:
    """Read the labelled captures of a store and split them.

    Args:
        work: where the two parts are written.
        store: a folder or s3://bucket/prefix with the archive of captures.
        force: train again with captures that an earlier run has had.

    Returns:
        The new captures, or one sentence that says why there is nothing to train on.

    Raises:
        StepError: the store cannot be read.
    """
    from capture import labelled  # imports pyarrow: one second that only retraining needs
    from capture.store import open_store

    try:
        found = labelled.read(open_store(store))
    except (OSError, ValueError) as error:  # a StoreError is an OSError; so are Arrow's
        raise StepError(f"cannot read labelled captures: {error}") from error
    is_held_out = found.bucket < HELD_OUT_BUCKETS
    train = LabelledImages(found.images[~is_held_out], found.labels[~is_held_out])
    if not len(train):
        return (
            f"nothing to retrain on: {len(found)} labelled captures (`monitoring label` adds some)"
        )
    tracking.connect()
    earlier = tracking.find_gated_run(f"data.{LABELLED}", f"md5:{digest(train)}")
    if earlier is not None and not force:
        return (
            f"nothing new: run {earlier} was trained on these {len(train)} labelled captures"
            " (--force trains again)"
        )
    work.folder.mkdir(parents=True, exist_ok=True)
    paths = work.folder / "labelled_train.npz", work.folder / "labelled_held_out.npz"
    np.savez(paths[0], images=train.images, labels=train.labels)
    np.savez(paths[1], images=found.images[is_held_out], labels=found.labels[is_held_out])
    held_out = paths[1] if is_held_out.any() else None
    return NewLabelledCaptures(paths[0], held_out, len(train), int(is_held_out.sum()))


def notify(
    work: Workspace, captures: NewLabelledCaptures, verdict: Verdict, *, run_id: str
) -> None:
    """Notify people by the sinks of DIGITS_ALERTS; what a sink refuses waits in the outbox."""
    today = datetime.now(UTC).date().isoformat()
    event = {
        "topic": "retrain",
        "severity": _WATCH,
        "title": "Retraining: the candidate passed the gate"
        if verdict.passed
        else "Retraining: the gate refused the candidate; the champion stays",
        "details": [
            f"{captures.num_train} labelled captures joined, {captures.num_held_out} were held out",
            *(str(reason) for reason in verdict.failures),
        ],
        "sites": [],
        "since": today,
        "window": today,
        "link": f"MLflow run {run_id}",
        "to_do": "Read its report; promote it if you agree."
        if verdict.passed
        else "Read which limits it missed; label more crops of the digits that it confuses.",
    }
    path = work.folder / "outcome.json"
    path.write_text(json.dumps(event, indent=1) + "\n")
    _start_notification(path)


def _start_notification(event: Path) -> None:
    """Start `monitoring tell`; a failed notification does not fail the retraining."""
    subprocess.run([sys.executable, "-m", "monitoring", "tell", str(event)], check=False)
