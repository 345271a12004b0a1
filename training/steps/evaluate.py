"""Step `evaluate`: measure the candidate on every set and register it; the gate names it.

Edge: reads both ONNX files, writes evaluation, report, pictures and predictions, logs to MLflow.
The only step that reads the test set.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from capture.predictions import Predictions, write_predictions
from model import artifact
from model.classifier import Classifier
from model.decision import Policy, softmax
from training import champion_folder, tracking
from training.config import DataConfig, Workspace
from training.data import extra, fonts, render, semeion
from training.data.datasets import LabelledImages, Mnist, load_mnist
from training.evaluation import (
    confidence,
    evaluation_page,
    harm,
    judge,
    pictures,
    style_sets,
    suites,
    thresholds,
)
from training.evaluation.answers import answer_all, save_answers
from training.steps import mail_evidence
from training.steps.files import (
    RENDER_VALIDATION_SEED,
    FitRecord,
    champion_sha256,
    load_fit,
    sha256,
    write_picture,
)

logger = logging.getLogger(__name__)

NUM_REFERENCE = 5000  # holdout crops of the drift reference


def run(
    data: DataConfig, work: Workspace, champion: Path, *, extras: Mapping[str, Path]
) -> judge.Evaluation:
    """Measure the candidate on every set, log the results, and register it without an alias.

    Raises:
        DataError: there are too few fonts to draw the set of printed digits.

    Args:
        data: where MNIST is.
        work: the candidate's files.
        champion: the current champion folder, for comparison.
        extras: an operator's own labelled crops by name; see `extra.load_extra`.
    """
    record = load_fit(work)
    mnist = load_mnist(data)
    found = fonts.need_fonts(without_fonts=data.without_fonts)
    sets = _build_suites(mnist, data, extras, found)
    fp32_bytes, int8_bytes = work.fp32.read_bytes(), work.int8.read_bytes()
    evidence = mail_evidence.load(work, champion)
    result = judge.evaluate(
        fp32_bytes,
        int8_bytes,
        sets,
        champion=_champion_classifier(champion),
        refine=evidence.refine if evidence else None,
        earlier_threshold=evidence.champion_policy.threshold if evidence else None,
    )
    judged = judge.Judged(
        candidate_sha256=sha256(int8_bytes),
        champion_sha256=champion_sha256(champion),
        train_fonts=record.fonts,
        held_out_fonts=fonts.families(found.held_out) if found else (),
        data={name: f"md5:{digest}" for name, digest in mnist.checksums.items()}
        | {f"set {name}": f"sha256:{suites.digest(part)}" for name, part in sets.tests.items()}
        | {"damaged crops": f"sha256:{suites.harm_digest(sets.harm)}"}
        | ({"mail": record.mail.data_version} if record.mail else {}),
        weights_sha256=sha256(work.weights.read_bytes()),
    )
    result = replace(result, judged=judged)
    policy = Policy(result.temperature, _default_threshold(result), result.garbage_threshold)
    if evidence is not None:
        result = replace(result, mail=evidence.compare(Classifier(int8_bytes), policy))
    work.evaluation.write_text(json.dumps(asdict(result), indent=1) + "\n")
    save_answers(work.answers, answer_all(Classifier(int8_bytes), sets.tests, policy))
    _draw_pictures(work, Classifier(int8_bytes), sets, result)
    drawn = {path.name: path.read_bytes() for path in work.pictures.glob("*.png")}
    title = f"digits, run {record.run_id}"
    work.report.write_text(evaluation_page.write_report(title, result, drawn), encoding="utf-8")
    _save_predictions(work, Classifier(int8_bytes), mnist, result)
    _log(record, work, sets, result)
    for name, row in result.sets.items():
        logger.info("%-16s %.2f %% of %d", name, 100 * row.accuracy, row.num)
    logger.info("corruptions at severity 3: %.2f %%", 100 * result.mean_corruption_accuracy)
    return result


def _log(record: FitRecord, work: Workspace, sets: suites.Suites, result: judge.Evaluation) -> None:
    """Add the results and both models to the fit's MLflow run."""
    tracking.connect()
    with tracking.run(run_id=record.run_id):
        tracking.log_metrics(champion_folder.flat_metrics(result))
        for path in (work.report, work.evaluation, work.answers, *sorted(work.pictures.iterdir())):
            tracking.log_file(path, folder="evaluation")
        example = {"image": sets.tests["mnist"].batch[:1]}
        tags = {"network": record.network, "git_commit": record.git_commit}
        tracking.register(work.fp32, model=tracking.FP32_MODEL, example=example, tags=tags)
        tracking.register(work.int8, model=tracking.MODEL, example=example, tags=tags)


def _build_suites(
    mnist: Mnist, data: DataConfig, extras: Mapping[str, Path], found: fonts.Fonts | None
) -> suites.Suites:
    extra_sets = {name: suites.frame_set(*extra.load_extra(path)) for name, path in extras.items()}
    others = {"uci": load_uci_digits()}
    if (strangers := semeion.load_semeion(data.cache, data.semeion)) is not None:
        others["semeion"] = strangers
    styled = style_sets.join(style_sets.build_style_sets(mnist.test))
    built = suites.build_suites(
        mnist,
        glyphs=fonts.draw_digits(found.held_out) if found else None,
        letters=fonts.draw_letters(found.held_out) if found else None,
        others=others,
    )
    return replace(built, tests={**built.tests, "styles": styled, **extra_sets})


def load_uci_digits() -> LabelledImages:
    """The 1,797 digits of 8x8 px that scikit-learn ships, from other writers than MNIST's."""
    from sklearn.datasets import load_digits

    uci = load_digits()
    images = np.rint(uci.images * (255 / 16)).astype(np.uint8)  # grey levels 0 to 16
    return LabelledImages(images, uci.target.astype(np.uint8))


def _champion_classifier(champion: Path) -> Classifier | None:
    if not (champion / "manifest.json").exists():
        return None
    return Classifier(artifact.load(champion).onnx_bytes)


def _draw_pictures(
    work: Workspace, int8: Classifier, sets: suites.Suites, result: judge.Evaluation
) -> None:
    reads = {
        name: judge.read(int8, sets.tests[name], result.temperature)
        for name in ("mnist", "rendered")
    }
    rendered = reads["rendered"]
    batch = sets.tests["rendered"].batch
    policy = Policy(result.temperature, _default_threshold(result), result.garbage_threshold)
    drawn = {
        "confusion_pairs.png": pictures.confusion_pairs(batch, rendered.labels, rendered.digits),
        "confusion.png": pictures.confusion_matrix(rendered.labels, rendered.digits),
        "mistakes.png": pictures.mistakes(
            batch, rendered.labels, rendered.digits, rendered.confidence
        ),
        "reliability.png": pictures.reliability_diagram(
            {name: confidence.reliability(row.confidence, row.right) for name, row in reads.items()}
        ),
        "risk_coverage.png": pictures.risk_coverage_curves(
            {
                name: confidence.risk_coverage(row.confidence, row.right)
                for name, row in reads.items()
            }
        ),
        "corruptions.png": pictures.corruption_grid(result.corruptions),
        "harm.png": pictures.harm_examples(
            {
                kind: [
                    (image, label, digit)
                    for severity in range(1, harm.MAX_SEVERITY + 1)
                    for image, label, digit in harm.wrong_reads(
                        int8, sets.harm[kind, severity], policy
                    )
                ]
                for kind in dict.fromkeys(name for name, _ in sets.harm)
            }
        ),
    }
    if result.garbage is not None:
        scores = {kind: judge.score(int8, batch)[1] for kind, batch in sets.garbage.items()}
        drawn["garbage_roc.png"] = pictures.garbage_roc(scores, rendered.garbage)
    for name, png in drawn.items():
        write_picture(work, name, png)


def _save_predictions(
    work: Workspace, int8: Classifier, mnist: Mnist, result: judge.Evaluation
) -> None:
    """Save the answers on rendered holdout crops, from which `promote` makes the reference."""
    part = mnist.holdout.take(slice(0, NUM_REFERENCE))
    crops, labels = render.render_digits(
        part, severity=suites.ORDINARY_SEVERITY, seed=RENDER_VALIDATION_SEED
    )
    batch, _ = render.frame_all(crops)
    logits, garbage = judge.score(int8, batch)
    predictions = Predictions(
        model_version="candidate",
        threshold=_default_threshold(result),
        garbage_threshold=result.garbage_threshold,
        crops=crops,
        images=np.rint(batch[:, 0] * 255).astype(np.uint8),
        probs=softmax(logits, result.temperature).astype(np.float32),
        garbage=garbage,
        labels=labels.astype(np.int64),
    )
    write_predictions(work.predictions, predictions)


def _default_threshold(result: judge.Evaluation) -> float:
    return next(
        row.threshold
        for row in result.thresholds
        if row.error_target == thresholds.DEFAULT_ERROR_TARGET
    )
