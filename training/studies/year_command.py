"""Command `year`: a simulated year of mail, with labels from rejects and audits alone.

Edge: reads mail, MNIST and the champion's weights; writes the table, the chart and the last model.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image

from model import artifact
from training import network as networks
from training import onnx_export, provenance, quantization
from training.adapting import AdaptConfig, Replay
from training.config import DataConfig, YearConfig
from training.data import extra, fonts, pool_cache, render
from training.data.datasets import LabelledImages, Mnist, load_mnist
from training.evaluation import office_policy, suites
from training.evaluation.thresholds import with_default
from training.step_error import StepError
from training.steps.files import (
    RENDER_SEED,
    RENDER_VALIDATION_SEED,
    network_input,
    sha256,
)
from training.studies import label_checks, year_arms, year_chart, year_mail, year_run
from training.studies.year_arms import Bench
from training.studies.year_mail import LabelledCrops
from training.studies.year_run import CHECKED, NEVER

logger = logging.getLogger(__name__)

MISLABELLED = Path(__file__).with_name("mislabelled_mail.txt")
WEIGHTS = "weights.pt"
PARITY_IMAGES = 1000
NUM_GUARDED = 3000  # digits of each set on which nothing may be forgotten


def load_bench(data: DataConfig, champion: Path, config: YearConfig, mnist: Mnist) -> Bench:
    """Render what the arms are fitted and measured with.

    Raises:
        StepError: the champion has no weights to go on from.
    """
    loaded = artifact.load(champion)
    path = champion / WEIGHTS
    if not path.is_file():
        raise StepError(f"{path} is missing: a champion promoted before version 8 has no weights")
    network = networks.build(loaded.manifest["network"])
    network.load_state_dict(torch.load(path, weights_only=True))
    found = fonts.find_fonts()
    letters = fonts.draw_letters(found.train) if found else None
    glyphs = fonts.draw_digits(found.train) if found else None
    rendering = render.RenderConfig(num_crops=config.num_replay)
    rendered = _pool(
        render.Sources(mnist.train, glyphs, letters), rendering, data.pools, RENDER_SEED
    )
    held = _pool(
        render.Sources(mnist.validation, None, letters),
        render.RenderConfig(num_crops=min(7_000, config.num_replay), glyph_frac=0),
        data.pools,
        RENDER_VALIDATION_SEED,
    )
    is_damaged = held.labels >= render.DAMAGED
    damaged = held.take(np.flatnonzero(is_damaged))
    truth = np.where(damaged.labels < 110, damaged.labels - render.DAMAGED, render.GARBAGE_LABEL)
    damaged = LabelledImages(damaged.images, truth.astype(np.uint8))
    policy = loaded.policy()
    return Bench(
        network=network.eval(),
        policy=policy,
        replay=Replay(mnist.train, rendered),
        policy_sets=suites.build_policy_sets(mnist),
        damaged=damaged,
        champion_harm=office_policy.harm(
            year_arms.score(network, damaged.images, damaged.labels), policy
        ),
        guarded={
            "MNIST": mnist.test.take(slice(0, NUM_GUARDED)),
            "rendered": held.take(np.flatnonzero(~is_damaged)[:NUM_GUARDED]),
        },
        config=AdaptConfig(num_steps=config.num_steps, seed=config.seed),
    )


def _pool(
    sources: render.Sources, rendering: render.RenderConfig, pools: Path, seed: int
) -> LabelledImages:
    return pool_cache.cached_pool(
        pools,
        sources,
        rendering,
        seed=seed,
        render=lambda: render.render_pool(sources, rendering, seed=seed),
    )


def load_mail(path: Path | None, mnist: Mnist, config: YearConfig) -> LabelledCrops:
    """The mail, without crops that are mislabelled in their source.

    Args:
        path: a Parquet file, or a folder with one, or with sub-folders 0 to 9; None draws mail.
        mnist: its test digits make synthetic mail.
        config: how many crops.

    Raises:
        StepError: nothing there is mail.
    """
    if path is None:
        num = min(config.num_crops, len(mnist.test))
        return year_mail.synthetic_mail(mnist.test.take(slice(0, num)), seed=config.seed)
    files = [path] if path.is_file() else sorted(path.glob("*.parquet"))
    if files:
        table = pq.read_table(files[0], columns=["png", "label"])
        crops = [
            np.asarray(Image.open(io.BytesIO(png)).convert("L")) for png in table["png"].to_pylist()
        ]
        labels = np.array(table["label"].to_pylist(), np.uint8)
    elif path.is_dir():
        crops, labels = extra.load_extra(path)
    else:
        raise StepError(f"{path} is neither a folder nor a Parquet file with png and label")
    known = _known_mislabelled()
    right = [row for row, crop in enumerate(crops) if year_mail.fingerprint(crop) not in known]
    logger.info("%d crops; %d are mislabelled and left out", len(crops), len(crops) - len(right))
    return LabelledCrops(crops, labels).take(np.array(right, np.intp))


def _known_mislabelled() -> set[str]:
    lines = MISLABELLED.read_text().splitlines()
    return {line.split()[0] for line in lines if line and not line.startswith("#")}


def run(
    data: DataConfig,
    champion: Path,
    config: YearConfig,
    *,
    audit_fracs: Sequence[float],
    report: Path,
    out: Path | None,
) -> str:
    """Go through the year once for each order of the crops; returns the table.

    The first order has all three arms; the others have those whose median is shown.

    Args:
        data: where MNIST is.
        champion: the model that the year begins with.
        config: of the year.
        audit_fracs: further audit shares, each of which is tried on the first order.
        report: folder for the chart and the table.
        out: folder to write the last model to; None does not.

    Raises:
        StepError: nothing there is mail, or `out` exists.
    """
    if out is not None and out.exists():
        raise StepError(f"{out} exists; name another folder with --out")
    mnist = load_mnist(data)
    mail = load_mail(config.mail, mnist, config)
    bench = load_bench(data, champion, config, mnist)
    years = [_one(bench, mail, config, order) for order in range(config.num_orders)]
    medians = [_median(years, arm) for arm in year_run.ARMS]
    table = year_chart.to_markdown(medians, config.num_orders)
    curve = {}
    for share in audit_fracs:
        tried = _one(bench, mail, replace(config, audit_frac=share), 0, arms=(CHECKED,))
        curve[share] = year_chart.pool(tried.results, CHECKED)
    if curve:
        table += "\n" + year_chart.audit_table(curve)
    report.mkdir(parents=True, exist_ok=True)
    (report / "year.png").write_bytes(year_chart.draw(years[0].results))
    (report / "year.md").write_text(table)
    rows = [[asdict(result) for result in year.results] for year in years]
    (report / "year.json").write_text(json.dumps(rows, indent=1) + "\n")
    if out is not None:
        write_model(years[0].arms[CHECKED], champion, mnist, out, months=config.num_months)
    return table


def _median(years: Sequence[year_run.Year], arm: str) -> year_chart.Pooled:
    have = [year for year in years if arm in year.arms]
    return year_chart.median([year_chart.pool(year.results, arm) for year in have])


def _one(
    bench: Bench,
    mail: LabelledCrops,
    config: YearConfig,
    order: int,
    *,
    arms: tuple[str, ...] | None = None,
) -> year_run.Year:
    """A year with one order of the crops."""
    seed = config.seed + order
    logger.info("order %d, audit share %.3g", order + 1, config.audit_frac)
    return year_run.run(
        year_mail.plan(mail, num_months=config.num_months, seed=seed),
        bench,
        label_checks.keep,
        audit_frac=config.audit_frac,
        seed=seed,
        arms=arms or (year_run.ARMS if order == 0 else (NEVER, CHECKED)),
    )


def write_model(
    arm: year_arms.Arm, champion: Path, mnist: Mnist, out: Path, *, months: int
) -> None:
    """Write the last model as a champion folder that serving accepts.

    Args:
        arm: Digitline's at the end of the year.
        champion: the champion that the year began with; what the year did not measure is its own.
        mnist: images that int8's scales are fitted on.
        out: folder to write; it must not exist.
        months: of the year, for the card.

    Raises:
        StepError: the folder exists.
        ArtifactRefused: serving would refuse the result.
    """
    if out.exists():
        raise StepError(f"{out} exists; name another folder with --out")
    out.mkdir(parents=True)
    images = network_input(mnist.train.images[: quantization.NUM_QUANT_CALIBRATION // 2])
    onnx_export.export(arm.network, images[:PARITY_IMAGES], out / "fp32.onnx")
    crops, _ = render.render_digits(
        mnist.train.take(slice(0, len(images))),
        severity=suites.ORDINARY_SEVERITY,
        seed=RENDER_SEED,
    )
    images = np.concatenate([images, render.frame_all(crops)[0]])
    quantization.quantize(out / "fp32.onnx", images, out / "model.onnx")
    (out / "fp32.onnx").unlink()
    torch.save(arm.network.state_dict(), out / WEIGHTS)
    (out / "golden.png").write_bytes((champion / "golden.png").read_bytes())
    manifest = json.loads((champion / "manifest.json").read_text())
    manifest |= {
        "sha256": sha256((out / "model.onnx").read_bytes()),
        "size_bytes": (out / "model.onnx").stat().st_size,
        "weights_sha256": sha256((out / WEIGHTS).read_bytes()),
        "version": f"{manifest['version']}-year",
        "created": provenance.now(),
        "temperature": arm.policy.temperature,
        "garbage_threshold": arm.policy.garbage_threshold,
        "thresholds": [asdict(row) for row in with_default(arm.thresholds, arm.policy.threshold)],
        "metrics": {},
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    (out / "MODEL_CARD.md").write_text(
        f"# Model card: digits, version {manifest['version']}\n\n"
        f"The champion after a simulated year of {months} months: retrained with"
        f" {len(arm.labels.rows):,} keyed and audited labels of that mail. Not promoted, and not"
        " evaluated on the sets of `python -m training evaluate`.\n"
    )
    artifact.load(out)
