"""Step `promote`: pack the candidate and make it the champion.

Edge: reads the candidate's files, replaces the champion folder, moves the alias.
"""

from __future__ import annotations

import io
import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from capture.predictions import read_predictions
from model.classifier import Classifier
from model.decision import softmax
from training import champion_folder, provenance, tracking
from training.config import DataConfig, Workspace
from training.data import render
from training.data.datasets import Mnist, load_mnist
from training.data.scanner import Scanner, scan
from training.data.warp import geometry, warp
from training.evaluation import card, judge
from training.steps.files import (
    RENDER_VALIDATION_SEED,
    StepError,
    load_evaluation,
    load_fit,
)

logger = logging.getLogger(__name__)

GOLDEN_DIGIT, GOLDEN_MIN_CONFIDENCE = 7, 0.9


def run(data: DataConfig, work: Workspace, champion: Path, *, why: str) -> str:
    """Pack the candidate, make it the champion, move the alias; returns the new version.

    Raises:
        StepError: the gate has not passed this candidate.
    """
    if not work.verdict.exists() or not _gate_passed(work):
        raise StepError("the gate has not passed this candidate; run `gate` and read its reasons")
    record, result = load_fit(work), load_evaluation(work)
    mnist = load_mnist(data)
    version = champion_folder.next_version(champion)
    origin = champion_folder.Origin(
        run_id=record.run_id,
        git_commit=record.git_commit,
        network=record.network,
        created=record.created,
        data={name: f"md5:{digest}" for name, digest in mnist.checksums.items()},
        libraries=provenance.library_versions(),
    )
    files = {f"card/{path.name}": path.read_bytes() for path in sorted(work.pictures.glob("*.png"))}
    files["MODEL_CARD.md"] = card.write_card(version, origin, result).encode()
    files["report.html"] = work.report.read_bytes()
    files["reference.parquet"] = _drift_reference(work, version)
    package = champion_folder.Package(
        onnx_bytes=work.int8.read_bytes(),
        version=version,
        evaluation=result,
        origin=origin,
        golden=_golden(work, mnist, result),
        extra_files=files,
    )
    entry = champion_folder.promote(package, champion, when=provenance.now(), why=why)
    tracking.connect()
    candidate = tracking.find_alias(tracking.CANDIDATE)
    if candidate is not None and candidate.run_id == record.run_id:
        tracking.set_alias(candidate.version, tracking.CHAMPION)
    logger.info("champion %s -> %s", entry.from_version, entry.to_version)
    return version


def _gate_passed(work: Workspace) -> bool:
    """True when the verdict is newer than the evaluation and every reason passed."""
    saved = json.loads(work.verdict.read_text())
    fresh = work.verdict.stat().st_mtime >= work.evaluation.stat().st_mtime
    return fresh and all(reason["passed"] for reason in saved["reasons"])


def _drift_reference(work: Workspace, version: str) -> bytes:
    """The drift reference: the candidate's validation predictions and crop features."""
    from capture import (
        reference,
    )  # imports pandas and pyarrow: one second that only promotion needs

    try:
        predictions = replace(read_predictions(work.predictions), model_version=version)
        return reference.to_parquet(reference.build(predictions))
    except (OSError, ValueError, KeyError) as error:
        raise StepError(f"no drift reference from {work.predictions}: {error}") from error


def _golden(work: Workspace, mnist: Mnist, result: judge.Evaluation) -> champion_folder.Golden:
    """The clean validation crop, 40 to 50 px high, that the model reads with most confidence."""
    part = mnist.validation.take(np.flatnonzero(mnist.validation.labels == GOLDEN_DIGIT)[:40])
    rng = np.random.default_rng(RENDER_VALIDATION_SEED)
    scanner: Scanner = replace(render.PLAIN, height_px=(40, 50), light_on_dark_prob=0)
    crops = [scan(canvas, scanner, rng) for canvas in warp(part.images, geometry(0), rng)]
    batch, _ = render.frame_all(crops)
    logits, _ = judge.score(Classifier(work.int8.read_bytes()), batch)
    sure = softmax(logits, result.temperature)[:, GOLDEN_DIGIT]
    best = int(sure.argmax())
    if sure[best] < GOLDEN_MIN_CONFIDENCE:
        raise StepError(
            f"the best confidence on a clean {GOLDEN_DIGIT} is {sure[best]:.2f}; the service's "
            f"start-up test needs {GOLDEN_MIN_CONFIDENCE}: train a better candidate"
        )
    file = io.BytesIO()
    Image.fromarray(crops[best]).save(file, "PNG", optimize=True)
    return champion_folder.Golden(file.getvalue(), GOLDEN_DIGIT, GOLDEN_MIN_CONFIDENCE)
