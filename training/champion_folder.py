"""A candidate of the digit reader -> the files of its champion folder.

`training.champion_switch` writes them and makes the folder the champion.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx

from model import artifact, champion_files
from model.onnx_inspect import inspect
from training import champion_switch
from training.champion_switch import WEIGHTS
from training.evaluation import harm
from training.evaluation.judge import Evaluation
from training.evaluation.thresholds import DEFAULT_ERROR_TARGET


@dataclass(frozen=True, slots=True)
class Golden:
    """The crop that the service reads at every start, to test the model."""

    png: bytes
    digit: int
    min_confidence: float


@dataclass(frozen=True, slots=True)
class MailOrigin:
    """The labelled mail that a candidate was fitted on."""

    data_version: str  # of the snapshot
    num_train: int  # after validation
    num_test: int
    sites: Mapping[str, int]  # training crops of each
    sources: Mapping[str, int]
    quarantined: tuple[str, ...]  # sources that validation left out


@dataclass(frozen=True, slots=True)
class Origin:
    """How a candidate was made."""

    run_id: str
    git_commit: str
    network: str
    created: str  # ISO 8601, UTC
    data: Mapping[str, str]  # file name -> md5:...
    libraries: Mapping[str, str]
    num_crops: int  # rendered for the fit
    num_epochs: int
    warm_start: str | None  # sha256 of the weights that the fit went on from
    averaged: tuple[str, ...] = ()  # runs whose weights it is the mean of
    mail: MailOrigin | None = None  # None: fitted on MNIST, fonts and rendered crops alone


@dataclass(frozen=True, slots=True)
class Package:
    """Everything that a promotion needs."""

    onnx_bytes: bytes
    version: str
    evaluation: Evaluation
    origin: Origin
    golden: Golden
    weights: bytes  # fp32 torch state, from which a retraining goes on
    extra_files: Mapping[str, bytes]  # model card, its pictures, drift reference


def stage(package: Package, champion: Path) -> Path:
    """Write the package beside the champion; returns the folder for `switch`.

    Raises:
        ArtifactRefused: serving would refuse the packed folder; nothing has changed.
    """
    return champion_switch.stage(pack(package), champion, check=artifact.load)


def pack(package: Package) -> dict[str, bytes]:
    """The files of a complete champion folder."""
    files: dict[str, bytes] = dict(package.extra_files)
    files["model.onnx"] = package.onnx_bytes
    files["golden.png"] = package.golden.png
    files[WEIGHTS] = package.weights
    files["manifest.json"] = (
        json.dumps(champion_files.sealed(manifest(package)), indent=1) + "\n"
    ).encode()
    return files


def manifest(package: Package) -> dict[str, object]:
    """The content of manifest.json, which serving reads and people compare."""
    evaluation, origin = package.evaluation, package.origin
    return {
        "schema": champion_files.MANIFEST_SCHEMA,
        "name": "digits",
        "version": package.version,
        "created": origin.created,
        "sha256": hashlib.sha256(package.onnx_bytes).hexdigest(),
        "size_bytes": len(package.onnx_bytes),
        "weights_sha256": hashlib.sha256(package.weights).hexdigest(),
        "opset": _opset(package.onnx_bytes),
        "run_id": origin.run_id,
        "git_commit": origin.git_commit,
        "network": origin.network,
        "fit": {
            "num_crops": origin.num_crops,
            "num_epochs": origin.num_epochs,
            "warm_start": origin.warm_start,
            "averaged": list(origin.averaged),
        },
        "libraries": dict(origin.libraries),
        "data": dict(origin.data),
        "mail": asdict(origin.mail) if origin.mail else None,
        "fonts": list(evaluation.judged.train_fonts) if evaluation.judged else [],
        "temperature": evaluation.temperature,
        "default_error_target": DEFAULT_ERROR_TARGET,
        "thresholds": [asdict(row) for row in evaluation.thresholds],
        "garbage_threshold": evaluation.garbage_threshold,
        "metrics": flat_metrics(evaluation),
        "golden": {
            "file": "golden.png",
            "digit": package.golden.digit,
            "min_confidence": package.golden.min_confidence,
        },
    }


def flat_metrics(evaluation: Evaluation) -> dict[str, float]:
    """The numbers of the manifest and of MLflow, by name."""
    quantisation, latency = evaluation.quantisation, evaluation.latency
    metrics = {
        "test_accuracy": evaluation.sets["mnist"].accuracy,
        "fp32_test_accuracy": quantisation.fp32_accuracy,
        "int8_label_flips_frac": quantisation.flips_frac,
        "corruption_severity_3_accuracy": evaluation.mean_corruption_accuracy,
    }
    for name, result in evaluation.sets.items():
        metrics[f"{name}_accuracy"] = result.accuracy
        metrics[f"{name}_ece"] = result.ece
        metrics[f"{name}_accepted_frac"] = result.accepted_frac
        metrics[f"{name}_accepted_error_frac"] = result.accepted_error_frac
        low, high = result.accepted_error_interval
        metrics[f"{name}_accepted_error_low"], metrics[f"{name}_accepted_error_high"] = low, high
        metrics[f"{name}_euros_per_million"] = result.euros_per_million
        metrics[f"{name}_coverage_at_default_target"] = result.coverage_at_default_target
    for size in ("1", "8", "32"):
        metrics[f"int8_us_batch_{size}"] = latency.int8_us[size]
        metrics[f"fp32_us_batch_{size}"] = latency.fp32_us[size]
    if evaluation.garbage is not None:
        metrics["garbage_auroc"] = evaluation.garbage.auroc
        metrics["garbage_fpr_at_95_tpr"] = evaluation.garbage.fpr_at_95_tpr
        metrics["garbage_max_softmax_auroc"] = evaluation.garbage.max_softmax_auroc
    for row in harm.table(evaluation.harm):
        metrics[f"harm_{'seen' if row.seen else 'unseen'}_{row.kind.replace(' ', '_')}"] = (
            row.harm_frac
        )
    return {name: round(float(value), 6) for name, value in metrics.items()}


def _opset(onnx_bytes: bytes) -> int:
    inspect(onnx_bytes)
    return int(onnx.load_from_string(onnx_bytes).opset_import[0].version)
