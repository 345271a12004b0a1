"""Step `search`: compare network shapes by int8 accuracy and latency.

Edge: an MLflow run for each shape, one picture for all. Each shape is fitted briefly on the same
rendered pool, quantised, timed, and measured on rendered validation crops; never on a test set.
"""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model.classifier import Classifier
from training import fitting, onnx_export, provenance, quantization, tracking
from training.batches import FitData
from training.config import DataConfig
from training.data import render
from training.data.datasets import load_mnist
from training.data.render import GARBAGE_LABEL
from training.network import DigitNet, Shape, num_parameters
from training.steps.files import network_input
from training.steps.fit import load_fit_data

logger = logging.getLogger(__name__)

SHAPES: Mapping[str, Shape] = {
    "stem 4x4 32, 48-48-48": Shape(widths=(48, 48, 48), num_unpadded=1, flat_head=False),
    "stem 4x4 32, 64-64-64": Shape(widths=(64, 64, 64), num_unpadded=1, flat_head=False),
    "stem 4x4 32, 64-64-64, flat head": Shape(widths=(64, 64, 64), num_unpadded=1),
    "stem 4x4 32, 64-64-64-48, flat head": Shape(widths=(64, 64, 64, 48), num_unpadded=1),
    "stem 4x4 32, 64-64-64-96 to 3x3, flat head": Shape(),
    "stem 4x4 32, 64-64-96-64 to 3x3, flat head": Shape(widths=(64, 64, 96, 64)),
    "stem 4x4 32, 64-64-96": Shape(widths=(64, 64, 96), num_unpadded=1, flat_head=False),
    "stem 5x5 32, 64-96-96": Shape(stem_px=5, widths=(64, 96, 96), num_unpadded=1, flat_head=False),
    "stem 4x4 48, 64-96-96": Shape(stem=48, widths=(64, 96, 96), num_unpadded=1, flat_head=False),
}


@dataclass(frozen=True, slots=True)
class Tried:
    """One shape, measured."""

    name: str
    num_parameters: int
    int8_us_batch_1: float
    int8_us_batch_32: float
    speed_up_batch_32: float
    clean_accuracy: float
    rendered_accuracy: float
    size_bytes: int


def run(
    config: fitting.FitConfig, rendering: render.RenderConfig, data: DataConfig, picture: Path
) -> tuple[Tried, ...]:
    """Measure every shape, with an MLflow run each, and draw accuracy against latency."""
    mnist = load_mnist(data)
    fit_data = load_fit_data(config, rendering, mnist, pools=data.pools)
    assert fit_data.rendered is not None
    images = np.concatenate(
        [
            network_input(part.images[: quantization.NUM_QUANT_CALIBRATION // 2])
            for part in (mnist.train, fit_data.rendered)
        ]
    )
    tracking.connect()
    tried = []
    for name in SHAPES:
        with tracking.run(name=f"search {name}"), tempfile.TemporaryDirectory() as folder:
            tracking.log_config(replace(config, network=name), prefix="fit")
            tracking.log_config(SHAPES[name], prefix="shape")
            tracking.log_tags({"step": "search", "git_commit": provenance.git_commit()})
            row = try_shape(name, config, fit_data, images, Path(folder))
            tracking.log_metrics(
                {key: value for key, value in asdict(row).items() if key != "name"}
            )
            tried.append(row)
        logger.info("%s", row)
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_bytes(draw_pareto(tried))
    with tracking.run(name="search summary"):
        tracking.log_tags({"step": "search"})
        tracking.log_file(picture)
    return tuple(tried)


def try_shape(
    name: str,
    config: fitting.FitConfig,
    data: FitData,
    images: NDArray[np.float32],
    folder: Path,
) -> Tried:
    """Fit, quantise, time and measure one shape.

    Args:
        name: one of `SHAPES`.
        config: a short fit.
        data: the pool that all shapes share.
        images: (B, 1, 28, 28) float32 for parity and quant-calibration.
        folder: for the two ONNX files.
    """
    network = DigitNet(SHAPES[name])
    config = replace(config, network=name)
    fitted = fitting.fit(config, data, build=lambda name: DigitNet(SHAPES[name]))
    onnx_export.export(fitted.network, images, folder / "fp32.onnx")
    quantization.quantize(folder / "fp32.onnx", images, folder / "int8.onnx")
    fp32 = Classifier((folder / "fp32.onnx").read_bytes())
    int8 = Classifier((folder / "int8.onnx").read_bytes())
    latency = quantization.measure_latency(fp32, int8, images[:64])
    assert data.rendered_validation is not None
    return Tried(
        name=name,
        num_parameters=num_parameters(network),
        int8_us_batch_1=latency.int8_us["1"],
        int8_us_batch_32=latency.int8_us["32"],
        speed_up_batch_32=1 / latency.ratio(32),
        clean_accuracy=_accuracy(int8, data.validation.images, data.validation.labels),
        rendered_accuracy=_accuracy(
            int8, data.rendered_validation.images, data.rendered_validation.labels
        ),
        size_bytes=(folder / "int8.onnx").stat().st_size,
    )


def _accuracy(
    classifier: Classifier, images: NDArray[np.uint8], labels: NDArray[np.uint8]
) -> float:
    is_digit = labels != GARBAGE_LABEL
    batch = images[is_digit][:, None].astype(np.float32) * np.float32(1 / 255)
    return float((classifier(batch).logits.argmax(1) == labels[is_digit]).mean())


def draw_pareto(tried: Sequence[Tried]) -> bytes:
    """Accuracy against latency; the line is the Pareto front."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    by_speed = sorted(tried, key=lambda row: row.int8_us_batch_32)
    front: list[Tried] = []
    for row in by_speed:
        if not front or row.rendered_accuracy > front[-1].rendered_accuracy:
            front.append(row)
    axes.step(
        [row.int8_us_batch_32 for row in front],
        [100 * row.rendered_accuracy for row in front],
        where="post",
        color="grey",
    )
    for row in tried:
        point = (row.int8_us_batch_32, 100 * row.rendered_accuracy)
        axes.plot(*point, "o")
        axes.annotate(row.name, point, xytext=(5, -9), textcoords="offset points", fontsize=7)
    axes.set(
        xlabel="int8 inference, us per digit at batch 32, one thread",
        ylabel="rendered validation, % right",
    )
    axes.grid(alpha=0.3)
    axes.margins(x=0.25)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return file.getvalue()
