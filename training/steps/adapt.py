"""Step `adapt`: go on from the champion's weights with labelled mail, in a new MLflow run.

Edge: reads the champion's weights and MNIST; writes what `fit` writes, and the mail that `evaluate`
needs: evidence for the thresholds, and the frozen test share.
"""

from __future__ import annotations

import io
import json
import logging
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from training import adapting, provenance, tracking
from training import network as networks
from training.adapting import AdaptConfig, Mail, Replay
from training.champion_folder import MailOrigin
from training.champion_switch import WEIGHTS
from training.config import DataConfig, Workspace
from training.data import fonts
from training.data.datasets import LabelledImages, load_mnist
from training.data.render import DAMAGED, RenderConfig
from training.fitting import FitConfig
from training.snapshots.reading import MailCrops, MailSnapshot
from training.snapshots.validation import ValidationReport
from training.step_error import StepError
from training.steps import fit
from training.steps.files import FitRecord, sha256

logger = logging.getLogger(__name__)

LABELS_TAG = "data.labels"  # label events and added sets, the same in months without a new one


def run(
    config: AdaptConfig,
    rendering: RenderConfig,
    data: DataConfig,
    work: Workspace,
    champion: Path,
    snapshot: MailSnapshot,
    report: ValidationReport,
    place: str,
) -> FitRecord:
    """Fit the champion's network on the mail that validation keeps.

    Args:
        config: recipe.
        rendering: of the crops that keep the champion's skill.
        data: where MNIST is.
        work: where the candidate's files are written.
        champion: the folder whose weights it goes on from.
        snapshot: the labelled mail.
        report: which of it is trained on.
        place: of the snapshot, for MLflow.

    Raises:
        StepError: the champion has no weights, or there are labels of fewer than two letters.
    """
    network_name, weights = champion_weights(champion)
    network = networks.build(network_name)
    network.load_state_dict(torch.load(io.BytesIO(weights), weights_only=True))
    mnist = load_mnist(data)
    found = fonts.need_fonts(without_fonts=data.without_fonts)
    loaded = fit.load_fit_data(FitConfig(network=network_name), rendering, mnist, pools=data.pools)
    assert loaded.rendered is not None, "augmented"
    assert loaded.rendered_validation is not None, "augmented"
    mail = to_mail(snapshot, report)
    tracking.connect()
    with tracking.run(name=f"retrain-{snapshot.version}") as run_id:
        tracking.log_config(config, prefix="adapt")
        tracking.log_config(rendering, prefix="render")
        tracking.log_tags(fit.run_tags(mnist) | data_tags(snapshot))
        tracking.log_dataset("mail", version=snapshot.version, place=place)
        try:
            adapted = adapting.adapt(network, mail, Replay(mnist.train, loaded.rendered), config)
        except ValueError as error:
            raise StepError(str(error)) from error
        record = FitRecord(
            network=network_name,
            run_id=run_id,
            git_commit=provenance.git_commit(),
            created=provenance.now(),
            best_epoch=0,
            fonts=fonts.families(found.train) if found else (),
            num_crops=len(loaded.rendered),
            warm_start=sha256(weights),
            history=(),
            mail=_origin(snapshot, report, mail),
        )
        work.folder.mkdir(parents=True, exist_ok=True)
        torch.save(adapted.network.state_dict(), work.weights)
        _write_mail(work, snapshot, report, adapted, loaded.rendered_validation)
        work.fit.write_text(json.dumps(asdict(record), indent=1) + "\n")
        tracking.log_file(work.weights)
    logger.info("%d crops of mail, %d are the test share", len(mail), len(snapshot.test))
    return record


def _write_mail(
    work: Workspace,
    snapshot: MailSnapshot,
    report: ValidationReport,
    adapted: adapting.Adapted,
    held: LabelledImages,
) -> None:
    """Write what `evaluate` and the gate need of the mail, and of the damaged crops in `held`."""
    damaged = held.take(np.flatnonzero(held.labels >= DAMAGED))
    np.savez(
        work.mail,
        logits=adapted.logits,
        garbage=adapted.garbage,
        labels=report.accepted(snapshot.train).labels,
        weights=snapshot.train.weights[report.keep],
        test_images=snapshot.test.images,
        test_labels=snapshot.test.labels,
        test_weights=snapshot.test.weights,
        test_sites=snapshot.test.sites,
        damaged_images=damaged.images,
        damaged_labels=damaged.labels,
    )


def champion_weights(champion: Path) -> tuple[str, bytes]:
    """The champion's network and its fp32 weights.

    Raises:
        StepError: they are missing, or are not those of its manifest.
    """
    try:
        manifest = json.loads((champion / "manifest.json").read_text())
        weights = (champion / WEIGHTS).read_bytes()
    except OSError as error:
        raise StepError(
            f"{champion} has no weights to go on from: {error}; promote a candidate of "
            "`python -m training run` first"
        ) from error
    if sha256(weights) != manifest.get("weights_sha256"):
        raise StepError(
            f"{champion / WEIGHTS} has sha256 {sha256(weights)}, manifest.json says "
            f"{manifest.get('weights_sha256')}; restore the champion folder or roll back"
        )
    return str(manifest["network"]), weights


def to_mail(snapshot: MailSnapshot, report: ValidationReport) -> Mail:
    """The crops that validation keeps; a letter is what one request sent."""
    train: MailCrops = snapshot.train.take(report.keep)
    letters = np.array([name.rpartition("/")[0] for name in snapshot.train_ids[report.keep]])
    return Mail(train.images, train.labels, train.sites, letters)


def data_tags(snapshot: MailSnapshot) -> dict[str, str]:
    """By which a later run finds that this data has been used."""
    manifest = snapshot.manifest
    labels = [manifest["label_events"]["sha256"], manifest.get("added", {})]
    digest = sha256(json.dumps(labels, sort_keys=True).encode())
    return {"data.mail": snapshot.version, LABELS_TAG: digest}


def _origin(snapshot: MailSnapshot, report: ValidationReport, mail: Mail) -> MailOrigin:
    kept = snapshot.train.take(report.keep)
    return MailOrigin(
        data_version=snapshot.version,
        num_train=len(mail),
        num_test=len(snapshot.test),
        sites=dict(sorted(Counter(kept.sites.tolist()).items())),
        sources=dict(sorted(Counter(kept.sources.tolist()).items())),
        quarantined=tuple(str(one.source) for one in report.quarantined),
    )
