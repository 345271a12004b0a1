"""Step `export`: write fp32.onnx and compare it with torch.

Edge: reads the weights, writes the ONNX file.
"""

from __future__ import annotations

import logging

import torch

from training import network, onnx_export
from training.config import DataConfig, Workspace
from training.data.datasets import load_mnist
from training.steps.files import load_fit, network_input

logger = logging.getLogger(__name__)

NUM_PARITY = 1000  # real images on which ONNX must equal torch


def run(data: DataConfig, work: Workspace) -> onnx_export.Export:
    """Write the fp32 ONNX file and compare it with torch on 1,000 real images."""
    record = load_fit(work)
    restored = network.build(record.network)
    restored.load_state_dict(torch.load(work.weights, weights_only=True))
    images = network_input(load_mnist(data).validation.images[:NUM_PARITY])
    done = onnx_export.export(restored.eval(), images, work.fp32)
    logger.info("fp32.onnx: %d bytes, largest logit gap %.1e", done.size_bytes, done.parity_gap)
    return done
