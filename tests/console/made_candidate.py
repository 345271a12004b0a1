"""A candidate's work folder, written by training's own writers, from made-up numbers."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from capture.predictions import Predictions, write_predictions
from training.champion_folder import MailOrigin
from training.config import Workspace
from training.evaluation.harm import HarmResult
from training.evaluation.judge import Evaluation, GarbageResult, Judged, SetResult
from training.evaluation.mail import MailResult
from training.evaluation.thresholds import Threshold
from training.gate_verdict import Verdict, at_least, at_most
from training.quantization import Latency, QuantisationChange
from training.steps.files import FitRecord, champion_sha256, holds_for, save_verdict, sha256

RUN = "0123456789abcdef0123456789abcdef"
MET = at_least("mnist: accuracy", 0.9968, 0.996)
FAILED = at_most("harm of letter", 0.031, 0.015)


def write_candidate(folder: Path, champion: Path, *reasons, model: bytes = b"candidate") -> Path:
    """A candidate that the gate has judged by these reasons."""
    work = Workspace(folder)
    folder.mkdir(parents=True, exist_ok=True)
    work.int8.write_bytes(model)
    work.fit.write_text(json.dumps(asdict(_fit())))
    work.evaluation.write_text(json.dumps(asdict(_evaluation(work, champion))))
    save_verdict(work, Verdict(reasons or (MET,), ("a note",)), holds_for(work))
    return folder


def _fit() -> FitRecord:
    return FitRecord(
        network="default",
        run_id=RUN,
        git_commit="c0ffee" * 6,
        created="2026-11-26T10:00:00Z",
        best_epoch=0,
        history=(),
        warm_start="feed" * 16,
        mail=MailOrigin("2026-11-abcdef12", 618, 155, {"bonn": 600, "köln": 18}, {}, ()),
    )


def _evaluation(work: Workspace, champion: Path) -> Evaluation:
    change = QuantisationChange(0.9968, 0.9968, 0.0, 0.0, 0.0)
    micros = {"1": 80.0, "8": 66.0, "32": 64.0}
    return Evaluation(
        sets={
            "mnist": SetResult(
                num=10_000, accuracy=0.9968, accuracy_low=0.9955, accuracy_high=0.9978,
                accuracy_by_class=(0.99,) * 10, ece=0.001, num_accepted=9_470, num_wrong=2,
                coverage_at_default_target=0.99, champion_accuracy=0.9967, num_lost=4, num_won=5,
            )
        },
        corruptions={"blur": {"3": 0.99}},
        mean_corruption_accuracy=0.9943,
        temperature=1.0,
        thresholds=(Threshold(0.001, 0.9, 0.9, 0.9, 1000, 900, 0),),
        garbage_threshold=0.35,
        garbage=GarbageResult(0.995, 0.02, 0.9, {}, {}),
        quantisation=change,
        rendered_quantisation=change,
        latency=Latency(micros, micros),
        size_bytes=286_536,
        fp32_size_bytes=900_000,
        harm=(
            HarmResult("blot", 1, True, 100, num_accepted=10, num_wrong=1),
            HarmResult("blot", 2, True, 100, num_accepted=10, num_wrong=2),
            HarmResult("turned_180", 1, True, 100, num_accepted=90, num_wrong=90),
        ),
        judged=Judged(
            sha256(work.int8.read_bytes()), champion_sha256(champion), ("arial",), ("lato",), {}
        ),
        mail=(MailResult("all", 155, 0.98, 0.97, 0.85, 0.83, 0.001, 0.002, 0.5, 0.5, 0.5),),
    )  # fmt: skip


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
