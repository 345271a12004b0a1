"""A candidate's work folder as training writes it, from made-up numbers.

Training's own writers are not imported: they load torch and scikit-learn. The slow test
`test_made_folders_have_the_members_that_training_writes` holds the two together.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from capture.predictions import Predictions, write_predictions

RUN = "0123456789abcdef0123456789abcdef"
MET = {"name": "mnist: accuracy", "value": 0.9968, "limit": 0.996, "passed": True, "remedy": ""}
FAILED = {"name": "harm of letter", "value": 0.031, "limit": 0.015, "passed": False, "remedy": ""}
FIT = {
    "network": "default",
    "run_id": RUN,
    "git_commit": "c0ffee" * 6,
    "created": "2026-11-26T10:00:00Z",
    "best_epoch": 0,
    "history": [],
    "fonts": [],
    "num_crops": 0,
    "warm_start": "feed" * 16,
    "averaged": [],
    "mail": {
        "data_version": "2026-11-abcdef12",
        "num_train": 618,
        "num_test": 155,
        "sites": {"bonn": 600, "köln": 18},
        "sources": {},
        "quarantined": [],
    },
}
SET = {
    "num": 10_000,
    "accuracy": 0.9968,
    "accuracy_low": 0.9955,
    "accuracy_high": 0.9978,
    "accuracy_by_class": [0.99] * 10,
    "ece": 0.001,
    "num_accepted": 9_470,
    "num_wrong": 2,
    "coverage_at_default_target": 0.99,
    "champion_accuracy": 0.9967,
    "num_lost": 4,
    "num_won": 5,
}
MAIL = {
    "site": "all",
    "num": 155,
    "accuracy": 0.98,
    "champion_accuracy": 0.97,
    "accepted_frac": 0.85,
    "champion_accepted_frac": 0.83,
    "wrong_frac": 0.001,
    "champion_wrong_frac": 0.002,
    "loss_p": 0.5,
    "wrong_p": 0.5,
    "accepted_p": 0.5,
}
LATENCY = {"int8_us": {"1": 80.0, "32": 64.0}, "fp32_us": {"1": 80.0, "32": 64.0}}


def harm(kind: str, num_wrong: int) -> dict[str, object]:
    """One kind of damage, which training has seen."""
    return {
        "kind": kind,
        "severity": 1,
        "seen": True,
        "num": 100,
        "num_accepted": 90,
        "num_wrong": num_wrong,
    }


def write_candidate(folder: Path, champion: Path, *reasons, model: bytes = b"candidate") -> Path:
    """A candidate that the gate has judged by these reasons."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "int8.onnx").write_bytes(model)
    judged = {
        "candidate_sha256": hashlib.sha256(model).hexdigest(),
        "champion_sha256": hashlib.sha256((champion / "model.onnx").read_bytes()).hexdigest(),
    }
    evaluation = {
        "sets": {"mnist": SET},
        "mean_corruption_accuracy": 0.9943,
        "garbage": {"auroc": 0.995},
        "latency": LATENCY,
        "size_bytes": 286_536,
        "harm": [harm("blot", 1), harm("blot", 2), harm("turned_180", 90)],
        "judged": judged,
        "mail": [MAIL],
    }
    verdict = {"reasons": reasons or [MET], "notes": ["a note"], "holds_for": judged}
    for name, content in (("fit", FIT), ("evaluation", evaluation), ("verdict", verdict)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def write_answers(folder: Path, crops, images, digits, confidence) -> None:
    """The candidate's answers to crops, as `evaluate` keeps them."""
    probs = np.full((len(crops), 10), 0.0, np.float32)
    rest = (1 - np.asarray(confidence)) / 9
    probs += rest[:, None].astype(np.float32)
    probs[np.arange(len(crops)), digits] = confidence
    write_predictions(
        folder / "predictions.npz",
        Predictions(
            model_version="candidate",
            threshold=0.9,
            garbage_threshold=0.35,
            crops=[crop.pixels for crop in crops],
            images=np.rint(images[:, 0] * 255).astype(np.uint8),
            probs=probs,
            garbage=np.zeros(len(crops), np.float32),
            labels=np.array([crop.label for crop in crops], np.int64),
        ),
    )
