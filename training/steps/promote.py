"""Step `promote`: pack the candidate and make it the champion.

Edge: reads the candidate's files, replaces the champion folder, moves the alias. `settle` is where
every command begins that changes or shows champions.
"""

from __future__ import annotations

import io
import json
import logging
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from capture.predictions import read_predictions
from capture.store import Store
from model.classifier import Classifier
from model.decision import softmax
from training import (
    anchor,
    champion_folder,
    champion_switch,
    harm_rules,
    model_store,
    promotion_log,
    provenance,
    tracking,
)
from training.config import DataConfig, Workspace
from training.data import render
from training.data.datasets import Mnist, load_mnist
from training.data.mnist_files import MNIST_MD5
from training.data.scanner import Scanner, scan
from training.data.warp import geometry, warp
from training.evaluation import card, judge
from training.promotion_log import Promotion
from training.step_error import StepError
from training.steps.files import (
    RENDER_VALIDATION_SEED,
    champion_sha256,
    holds_for,
    load_evaluation,
    load_fit,
    load_verdict,
    sha256,
)

logger = logging.getLogger(__name__)

GOLDEN_DIGIT, GOLDEN_MIN_CONFIDENCE = 7, 0.9


def run(
    data: DataConfig,
    work: Workspace,
    champion: Path,
    store: Store,
    *,
    why: str,
    move_anchor: str | None = None,
) -> str:
    """Pack the candidate, make it the champion, move the alias; returns the new version.

    Args:
        data: where MNIST is.
        work: the candidate's files.
        champion: the champion folder to replace.
        store: keeps the old and the new champion, for `rollback`.
        why: reason for the promotion log.
        move_anchor: reason to make this candidate the anchor of later ones; None leaves it.

    Raises:
        StepError: the gate has not passed this candidate against this champion.
        VersionError: the store has another model under one of the two versions.
    """
    settle(champion)  # so that the champion is there to be compared with
    mnist = load_mnist(data)
    judged = _judged(work, champion, mnist)
    result = load_evaluation(work)
    version = promotion_log.next_version(champion)
    staged = champion_folder.stage(_package(work, mnist, judged, result, version), champion)
    for folder in (champion, staged):
        if folder.exists():
            model_store.keep(folder, store)
    entry = champion_switch.switch(
        staged, champion, when=provenance.now(), why=why, announce=partial(move_alias, champion)
    )
    if move_anchor is not None or anchor.load(champion) is None:
        reason = move_anchor or "the first champion of this folder"
        harm = harm_rules.means(result.harm)
        made = anchor.make(result, harm, version=version, sha256=entry.sha256, why=reason)
        anchor.save(made, champion)
        logger.info("anchor: version %s (%s)", version, reason)
    logger.info("champion %s -> %s", entry.from_version, entry.to_version)
    return version


def _package(
    work: Workspace, mnist: Mnist, judged: judge.Judged, result: judge.Evaluation, version: str
) -> champion_folder.Package:
    """The files of a champion folder."""
    record = load_fit(work)
    origin = champion_folder.Origin(
        run_id=record.run_id,
        git_commit=record.git_commit,
        network=record.network,
        created=record.created,
        data=judged.data,
        libraries=provenance.library_versions(),
        num_crops=record.num_crops,
        num_epochs=len(record.history),
        warm_start=record.warm_start,
        averaged=record.averaged,
        mail=record.mail,
    )
    files = {f"card/{path.name}": path.read_bytes() for path in sorted(work.pictures.glob("*.png"))}
    files["MODEL_CARD.md"] = card.write_card(version, origin, result).encode()
    files["report.html"] = work.report.read_bytes()
    files["reference.parquet"] = _drift_reference(work, version)
    return champion_folder.Package(
        onnx_bytes=work.int8.read_bytes(),
        version=version,
        evaluation=result,
        origin=origin,
        golden=_golden(work, mnist, result),
        weights=work.weights.read_bytes(),
        extra_files=files,
    )


def settle(champion: Path) -> None:
    """Finish or undo what a killed promotion or rollback left, the registry's alias included."""
    champion_switch.recover(champion, partial(move_alias, champion))


def move_alias(champion: Path, entry: Promotion) -> None:
    """Point the registry's alias at the champion's run; a run it does not know is no error."""
    run_id = json.loads((champion / "manifest.json").read_text())["run_id"]
    tracking.connect()
    registered = tracking.find_by_run(run_id)
    if registered is None:
        logger.info("version %s is not in the registry; its alias stays", entry.to_version)
    else:
        tracking.set_alias(registered.version, tracking.CHAMPION)


def _judged(work: Workspace, champion: Path, mnist: Mnist) -> judge.Judged:
    """What was judged, when the verdict passed and is about these very files.

    Raises:
        StepError: it is about others, or did not pass.
    """
    if not work.verdict.exists():
        raise StepError("the gate has not passed this candidate; run `gate` and read its reasons")
    verdict, holds = load_verdict(work)
    if not verdict.passed:
        raise StepError("the gate has not passed this candidate; read the reasons of `gate`")
    now = replace(
        holds_for(work),
        candidate_sha256=sha256(work.int8.read_bytes()),
        champion_sha256=champion_sha256(champion),
    )
    for name, value in asdict(now).items():
        if value != getattr(holds, name):
            what = name.removesuffix("_sha256")
            raise StepError(
                f"the gate's verdict is about another {what}: sha256 {getattr(holds, name)},"
                f" here it is {value}; run `evaluate` and `gate` again"
            )
    judged = load_evaluation(work).judged
    assert judged is not None, "holds_for has read it"
    if not work.weights.exists() or sha256(work.weights.read_bytes()) != judged.weights_sha256:
        raise StepError(
            f"{work.weights} is missing or not what the candidate was made of, and a retraining"
            " would go on from it; run `export` to `gate` again"
        )
    for name in MNIST_MD5:
        if judged.data.get(name) != f"md5:{mnist.checksums[name]}":
            raise StepError(f"{name} is not the file that was judged on; run `evaluate` again")
    return judged


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
    """The clean holdout crop, 40 to 50 px high, that the model reads with most confidence."""
    part = mnist.holdout.take(np.flatnonzero(mnist.holdout.labels == GOLDEN_DIGIT)[:40])
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
