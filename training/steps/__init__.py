"""The steps of the command line, each reading the files of the one before.

Edge: ties the pure modules to files, MLflow and the promoted folder. No numbers are made here.
"""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from capture.predictions import Predictions, read_predictions, write_predictions
from model import artifact
from model.classifier import Classifier
from model.decision import softmax
from training import (
    architecture_search,
    champion_folder,
    fitting,
    gate_rules,
    network,
    onnx_export,
    provenance,
    quantization,
    tracking,
)
from training.config import DataConfig, Workspace
from training.data import extra, fonts, render
from training.data.augment import Scanner, geometry, scan, warp
from training.data.datasets import LabelledImages, Mnist, load_mnist
from training.evaluation import card, confidence, evaluation_page, judge, pictures, suites

logger = logging.getLogger(__name__)

NUM_PARITY = 1000  # real images on which ONNX must equal torch
NUM_REFERENCE = 5000  # validation crops of the drift reference
RENDER_SEED, RENDER_VALIDATION_SEED = 11, 12
NUM_RENDERED_VALIDATION = 7000
GOLDEN_DIGIT, GOLDEN_MIN_CONFIDENCE = 7, 0.9
KEPT = Path("promotable")  # folder among a run's files


class StepError(RuntimeError):
    """A step cannot run, or its result may not be used; the message says why."""


class Interrupted(StepError):
    """Ctrl-C during the fit; what was reached is saved."""


@dataclass(frozen=True, slots=True)
class FitRecord:
    """What `fit` leaves for the steps after it."""

    network: str
    run_id: str
    git_commit: str
    created: str
    best_epoch: int
    history: tuple[fitting.Epoch, ...]


def run_fit(
    config: fitting.FitConfig, rendering: render.RenderConfig, data: DataConfig, work: Workspace
) -> FitRecord:
    """Fit a network in a new MLflow run and keep its best weights.

    Raises:
        Interrupted: Ctrl-C; the weights reached are saved and the steps after may be run.
    """
    mnist = load_mnist(data)
    fit_data = _fit_data(config, rendering, mnist)
    tracking.connect()
    with tracking.run(name=f"{config.network}-{config.seed}") as run_id:
        tracking.log_config(config, prefix="fit")
        if config.augmented:
            tracking.log_config(rendering, prefix="render")
        tracking.log_tags(_run_tags(mnist))
        fitted = fitting.fit(config, fit_data, on_epoch=_report_epoch)
        record = FitRecord(
            network=config.network,
            run_id=run_id,
            git_commit=provenance.git_commit(),
            created=provenance.now(),
            best_epoch=fitted.best_epoch,
            history=fitted.history,
        )
        work.folder.mkdir(parents=True, exist_ok=True)
        torch.save(fitted.network.state_dict(), work.weights)
        work.fit.write_text(json.dumps(asdict(record), indent=1) + "\n")
        _keep_picture(work, "learning_curves.png", pictures.learning_curves(fitted.history))
        tracking.log_file(work.weights)
        tracking.log_metrics({"best_epoch": fitted.best_epoch + 1})
    if fitted.interrupted:
        raise Interrupted(
            f"stopped by Ctrl-C after {len(fitted.history)} epochs; the best, epoch "
            f"{fitted.best_epoch + 1}, is in {work.weights}"
        )
    return record


def _fit_data(
    config: fitting.FitConfig, rendering: render.RenderConfig, mnist: Mnist
) -> fitting.FitData:
    if config.augmented is None:
        return fitting.FitData(mnist.train, mnist.validation, None, None)
    found = fonts.find_fonts()
    glyphs = fonts.draw_digits(found.train) if found else None
    letters = fonts.draw_letters(found.train) if found else None
    validation = replace(
        rendering, num_crops=min(NUM_RENDERED_VALIDATION, rendering.num_crops), glyph_frac=0
    )
    return fitting.FitData(
        train=mnist.train,
        validation=mnist.validation,
        rendered=render.render_pool(
            render.Sources(mnist.train, glyphs, letters), rendering, seed=RENDER_SEED
        ),
        rendered_validation=render.render_pool(
            render.Sources(mnist.validation, None, letters),
            validation,
            seed=RENDER_VALIDATION_SEED,
            label="render validation",
        ),
    )


def _report_epoch(epoch: fitting.Epoch) -> None:
    metrics = {
        "train_loss": epoch.train_loss,
        "validation_accuracy": epoch.validation_accuracy,
        "epoch_seconds": epoch.seconds,
    }
    text = f"epoch {epoch.epoch + 1}: loss {epoch.train_loss:.4f}"
    text += f", validation {epoch.validation_accuracy:.2%}"
    if epoch.rendered_validation_accuracy is not None:
        metrics["rendered_validation_accuracy"] = epoch.rendered_validation_accuracy
        text += f", rendered {epoch.rendered_validation_accuracy:.2%}"
    logger.info("%s, %.1f s", text, epoch.seconds)
    tracking.log_metrics(metrics, step=epoch.epoch + 1)


def run_export(data: DataConfig, work: Workspace) -> onnx_export.Export:
    """Write the fp32 ONNX file and compare it with torch on 1,000 real images."""
    record = load_fit(work)
    restored = network.build(record.network)
    restored.load_state_dict(torch.load(work.weights, weights_only=True))
    images = _network_input(load_mnist(data).validation.images[:NUM_PARITY])
    done = onnx_export.export(restored.eval(), images, work.fp32)
    logger.info("fp32.onnx: %d bytes, largest logit gap %.1e", done.size_bytes, done.parity_gap)
    return done


def run_quantize(data: DataConfig, work: Workspace) -> quantization.QuantisationChange:
    """Write the int8 ONNX file; its change is shown on validation digits."""
    if not work.fp32.exists():
        raise StepError(f"{work.fp32} is missing: run `export` first")
    mnist = load_mnist(data)
    num = quantization.NUM_QUANT_CALIBRATION // 2
    part = mnist.train.take(slice(0, num))
    crops, _ = render.render_digits(part, severity=suites.ORDINARY_SEVERITY, seed=RENDER_SEED)
    rendered, _ = render.frame_all(crops)
    images = np.concatenate([_network_input(part.images), rendered])
    quantization.quantize(work.fp32, images, work.int8)
    fp32, int8 = _classifier(work.fp32), _classifier(work.int8)
    batch, labels = _network_input(mnist.validation.images), mnist.validation.labels
    change = quantization.compare(fp32, int8, batch, labels)
    latency = quantization.measure_latency(fp32, int8, batch[:64])
    logger.info(
        "int8.onnx: %d bytes, validation %.2f %% -> %.2f %%, %.3f %% of labels flipped, "
        "%.2fx at batch 1, %.2fx at batch 32",
        work.int8.stat().st_size,
        100 * change.fp32_accuracy,
        100 * change.int8_accuracy,
        100 * change.flips_frac,
        1 / latency.ratio(1),
        1 / latency.ratio(32),
    )
    return change


def run_evaluate(
    data: DataConfig, work: Workspace, champion: Path, *, extras: Mapping[str, Path]
) -> judge.Evaluation:
    """Judge the candidate on every set, log it, and register it as `candidate`.

    Args:
        data: where MNIST is.
        work: the candidate's files.
        champion: today's champion folder, for comparison.
        extras: an operator's own labelled crops by name; see `extra.load_extra`.
    """
    record = load_fit(work)
    mnist = load_mnist(data)
    judged = _build_suites(mnist, extras)
    today = _champion_classifier(champion)
    fp32_bytes, int8_bytes = work.fp32.read_bytes(), work.int8.read_bytes()
    result = judge.evaluate(fp32_bytes, int8_bytes, judged, champion=today)
    work.evaluation.write_text(json.dumps(asdict(result), indent=1) + "\n")
    _draw_pictures(work, Classifier(int8_bytes), judged, result)
    drawn = {path.name: path.read_bytes() for path in work.pictures.glob("*.png")}
    title = f"digits, run {record.run_id}"
    work.report.write_text(evaluation_page.write_report(title, result, drawn), encoding="utf-8")
    _save_predictions(work, Classifier(int8_bytes), mnist, result)
    tracking.connect()
    with tracking.run(run_id=record.run_id):
        tracking.log_metrics(champion_folder.flat_metrics(result))
        for path in (work.report, work.evaluation, *sorted(work.pictures.iterdir())):
            tracking.log_file(path, folder="evaluation")
        example = judged.tests["mnist"].batch[:1]
        tags = {"network": record.network, "git_commit": record.git_commit}
        tracking.register(work.fp32, model=tracking.FP32_MODEL, image=example, tags=tags)
        made = tracking.register(work.int8, model=tracking.MODEL, image=example, tags=tags)
        tracking.set_alias(made.version, tracking.CANDIDATE)
    for name, row in result.sets.items():
        logger.info("%-16s %.2f %% of %d", name, 100 * row.accuracy, row.num)
    logger.info("corruptions at severity 3: %.2f %%", 100 * result.mean_corruption_accuracy)
    return result


def _build_suites(mnist: Mnist, extras: Mapping[str, Path]) -> suites.Suites:
    from sklearn.datasets import load_digits

    own = {name: suites.frame_set(*extra.load_extra(path)) for name, path in extras.items()}
    found = fonts.find_fonts()
    uci = load_digits()
    built = suites.build_suites(
        mnist,
        glyphs=fonts.draw_digits(found.held_out) if found else None,
        letters=fonts.draw_letters(found.held_out) if found else None,
        others={
            "uci": LabelledImages(
                np.rint(uci.images * (255 / 16)).astype(np.uint8), uci.target.astype(np.uint8)
            )
        },
    )
    return replace(built, tests={**built.tests, **own})


def _draw_pictures(
    work: Workspace, int8: Classifier, judged: suites.Suites, result: judge.Evaluation
) -> None:
    reads = {
        name: judge.read(int8, judged.tests[name], result.temperature)
        for name in ("mnist", "rendered")
    }
    rendered = reads["rendered"]
    batch = judged.tests["rendered"].batch
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
    }
    if result.garbage is not None:
        scores = {kind: judge.score(int8, batch)[1] for kind, batch in judged.garbage.items()}
        drawn["garbage_roc.png"] = pictures.garbage_roc(scores, rendered.garbage)
    for name, png in drawn.items():
        _keep_picture(work, name, png)


def _save_predictions(
    work: Workspace, int8: Classifier, mnist: Mnist, result: judge.Evaluation
) -> None:
    """Validation crops as mail would bring them, for `python -m monitoring reference`."""
    part = mnist.validation.take(slice(0, NUM_REFERENCE))
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


def run_gate(work: Workspace, floors: gate_rules.Floors) -> gate_rules.Verdict:
    """Judge the evaluation and print every reason."""
    verdict = gate_rules.judge(load_evaluation(work), floors)
    work.verdict.write_text(json.dumps(asdict(verdict), indent=1) + "\n")
    for reason in verdict.reasons:
        logger.info("%s", reason)
    tracking.connect()
    with tracking.run(run_id=load_fit(work).run_id):
        tracking.log_tags({"gate": "passed" if verdict.passed else "failed"})
        tracking.log_file(work.verdict, folder="evaluation")
        for path in _promotable(work) if verdict.passed else ():
            tracking.log_file(path, folder=str(KEPT / path.parent.relative_to(work.folder)))
    return verdict


def _promotable(work: Workspace) -> list[Path]:
    """All that `promote` reads: kept with the run, so that it can be promoted somewhere else."""
    files = [work.fit, work.int8, work.evaluation, work.report, work.predictions, work.verdict]
    return files + sorted(work.pictures.glob("*.png"))


def run_fetch(work: Workspace, run_id: str) -> None:
    """Fill the workspace with a candidate that passed the gate in an earlier run, or elsewhere.

    Raises:
        StepError: the run kept no candidate.
    """
    tracking.connect()
    work.folder.mkdir(parents=True, exist_ok=True)
    if not tracking.fetch_files(run_id, KEPT, work.folder):
        raise StepError(f"run {run_id} kept no candidate: did it pass the gate?")
    logger.info("%s is in %s: read report.html, then `promote`", run_id, work.folder)


def run_promote(data: DataConfig, work: Workspace, champion: Path, *, why: str) -> str:
    """Pack the candidate, swap it in, move the alias; returns the new version.

    Raises:
        StepError: the gate has not passed this candidate.
    """
    if not work.verdict.exists() or not _gate_passed(work):
        raise StepError("the gate has not passed this candidate; run `gate` and see its reasons")
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


def _drift_reference(work: Workspace, version: str) -> bytes:
    """Let monitoring make its reference in its own process: the two meet only in files."""
    with tempfile.TemporaryDirectory() as name:
        source, made = Path(name) / "predictions.npz", Path(name) / "reference.parquet"
        write_predictions(
            source, replace(read_predictions(work.predictions), model_version=version)
        )
        subprocess.run(
            [sys.executable, "-m", "monitoring", "reference", "--from", source, "--out", made],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return made.read_bytes()


def _golden(work: Workspace, mnist: Mnist, result: judge.Evaluation) -> champion_folder.Golden:
    """A validation digit as a clean crop of about 50 px that the model reads without doubt."""
    part = mnist.validation.take(np.flatnonzero(mnist.validation.labels == GOLDEN_DIGIT)[:40])
    rng = np.random.default_rng(RENDER_VALIDATION_SEED)
    scanner: Scanner = replace(render.PLAIN, height_px=(40, 50), light_on_dark_prob=0)
    crops = [scan(canvas, scanner, rng) for canvas in warp(part.images, geometry(0), rng)]
    batch, _ = render.frame_all(crops)
    logits, _ = judge.score(_classifier(work.int8), batch)
    sure = softmax(logits, result.temperature)[:, GOLDEN_DIGIT]
    best = int(sure.argmax())
    if sure[best] < GOLDEN_MIN_CONFIDENCE:
        raise StepError(f"no clean {GOLDEN_DIGIT} is read with {GOLDEN_MIN_CONFIDENCE} confidence")
    file = io.BytesIO()
    Image.fromarray(crops[best]).save(file, "PNG", optimize=True)
    return champion_folder.Golden(file.getvalue(), GOLDEN_DIGIT, GOLDEN_MIN_CONFIDENCE)


def run_search(
    config: fitting.FitConfig, rendering: render.RenderConfig, data: DataConfig, picture: Path
) -> tuple[architecture_search.Tried, ...]:
    """Try every shape of the search, an MLflow run each, and draw accuracy against latency."""
    mnist = load_mnist(data)
    fit_data = _fit_data(config, rendering, mnist)
    assert fit_data.rendered is not None
    images = np.concatenate(
        [
            _network_input(part.images[: quantization.NUM_QUANT_CALIBRATION // 2])
            for part in (mnist.train, fit_data.rendered)
        ]
    )
    tracking.connect()
    tried = []
    for name in architecture_search.SHAPES:
        with tracking.run(name=f"search {name}"), tempfile.TemporaryDirectory() as folder:
            tracking.log_config(replace(config, network=name), prefix="fit")
            tracking.log_config(architecture_search.SHAPES[name], prefix="shape")
            tracking.log_tags({"step": "search", "git_commit": provenance.git_commit()})
            row = architecture_search.try_shape(name, config, fit_data, images, Path(folder))
            tracking.log_metrics(
                {key: value for key, value in asdict(row).items() if key != "name"}
            )
            tried.append(row)
        logger.info("%s", row)
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_bytes(architecture_search.draw_pareto(tried))
    with tracking.run(name="search summary"):
        tracking.log_tags({"step": "search"})
        tracking.log_file(picture)
    return tuple(tried)


def load_fit(work: Workspace) -> FitRecord:
    """Read what `fit` left.

    Raises:
        StepError: `fit` has not run.
    """
    if not work.fit.exists():
        raise StepError(f"{work.fit} is missing: run `fit` first")
    saved = json.loads(work.fit.read_text())
    history = tuple(fitting.Epoch(**row) for row in saved.pop("history"))
    return FitRecord(**saved, history=history)


def load_evaluation(work: Workspace) -> judge.Evaluation:
    """Read what `evaluate` left.

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
    by_class = tuple(row["accuracy_by_class"])  # JSON knows lists only
    return judge.SetResult(**row | {"accuracy_by_class": by_class})


def _gate_passed(work: Workspace) -> bool:
    """The verdict is about this evaluation only when it is the newer file."""
    saved = json.loads(work.verdict.read_text())
    fresh = work.verdict.stat().st_mtime >= work.evaluation.stat().st_mtime
    return fresh and all(reason["passed"] for reason in saved["reasons"])


def _champion_classifier(champion: Path) -> Classifier | None:
    if not (champion / "manifest.json").exists():
        return None
    return Classifier(artifact.load(champion).onnx_bytes)


def _classifier(path: Path) -> Classifier:
    return Classifier(path.read_bytes())


def _default_threshold(result: judge.Evaluation) -> float:
    return next(
        row.threshold
        for row in result.thresholds
        if row.error_target == confidence.DEFAULT_ERROR_TARGET
    )


def _network_input(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """MNIST rows as serving would pass them: already framed, so only scaled."""
    return images[:, None].astype(np.float32) * np.float32(1 / 255)


def _keep_picture(work: Workspace, name: str, png: bytes) -> None:
    work.pictures.mkdir(parents=True, exist_ok=True)
    (work.pictures / name).write_bytes(png)


def _run_tags(mnist: Mnist) -> dict[str, str]:
    tags = {"git_commit": provenance.git_commit()}
    tags |= {f"data.{name}": f"md5:{digest}" for name, digest in mnist.checksums.items()}
    tags |= {f"library.{name}": version for name, version in provenance.library_versions().items()}
    return tags
