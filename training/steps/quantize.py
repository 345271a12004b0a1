"""Step `quantize`: write int8.onnx and report what int8 changed.

Edge: reads fp32.onnx, writes int8.onnx.
"""

from __future__ import annotations

import logging

import numpy as np

from model.classifier import Classifier
from training import quantization
from training.config import DataConfig, Workspace
from training.data import render
from training.data.datasets import load_mnist
from training.evaluation import suites
from training.step_error import StepError
from training.steps.files import RENDER_SEED, network_input

logger = logging.getLogger(__name__)


def run(data: DataConfig, work: Workspace) -> quantization.QuantisationChange:
    """Write the int8 ONNX file and measure on validation digits what int8 changed."""
    if not work.fp32.exists():
        raise StepError(f"{work.fp32} is missing: run `export` first")
    mnist = load_mnist(data)
    num = quantization.NUM_QUANT_CALIBRATION // 2
    part = mnist.train.take(slice(0, num))
    crops, _ = render.render_digits(part, severity=suites.ORDINARY_SEVERITY, seed=RENDER_SEED)
    rendered, _ = render.frame_all(crops)
    images = np.concatenate([network_input(part.images), rendered])
    quantization.quantize(work.fp32, images, work.int8)
    fp32, int8 = Classifier(work.fp32.read_bytes()), Classifier(work.int8.read_bytes())
    batch, labels = network_input(mnist.validation.images), mnist.validation.labels
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
