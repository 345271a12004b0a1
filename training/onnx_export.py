"""Torch -> one self-contained ONNX file, checked against torch.

Edge: writes the file. Knows nothing about training or quantisation.
"""

from __future__ import annotations

import copy
import io
import logging
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model.classifier import Classifier
from training.network import split_outputs, to_layout

OPSET = 18
MAX_PARITY_GAP = 1e-4  # float32 rounding over six layers stays below 2e-5


class ExportError(RuntimeError):
    """The exported file does not compute what torch computes."""


@dataclass(frozen=True, slots=True)
class Export:
    """What was written."""

    size_bytes: int
    parity_gap: float  # largest difference of a logit to torch's
    num_parity_images: int


def export(network: nn.Module, images: NDArray[np.float32], path: Path) -> Export:
    """Write `image` [N, 1, 28, 28] -> `logits` [N, 10] (and `garbage` [N, 1]).

    Args:
        network: any from `network.py`.
        images: (B, 1, 28, 28) float32 real images for the parity check.
        path: file to write; it is written only after every check has passed.

    Raises:
        ExportError: a logit differs from torch's by more than 1e-4.
    """
    network = fold_batch_norm(network)
    expected = _torch_logits(network, images)
    outputs = ["logits", "garbage"] if _has_garbage(network) else ["logits"]
    program = _to_onnx(network, outputs)
    model = program.model_proto
    del model.metadata_props[:]
    for node in model.graph.node:  # stack traces name files of this machine
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString()
    gap = float(np.abs(Classifier(data)(images).logits - expected).max())
    if gap > MAX_PARITY_GAP:
        raise ExportError(
            f"a logit differs from torch's by {gap:.2g}; the limit is {MAX_PARITY_GAP}"
        )
    path.write_bytes(data)
    return Export(size_bytes=len(data), parity_gap=gap, num_parity_images=len(images))


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """A copy in which each batch norm is part of the convolution before it."""
    network = copy.deepcopy(network).eval()
    for module in list(network.modules()):
        if not isinstance(module, nn.Sequential):
            continue
        for index in range(len(module) - 1):
            first, second = module[index], module[index + 1]
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                module[index] = fuse_conv_bn_eval(first, second)
                module[index + 1] = nn.Identity()
    return to_layout(network, torch.contiguous_format)


def _to_onnx(network: nn.Module, outputs: list[str]) -> torch.onnx.ONNXProgram:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter warns of torch's own deprecations
        program = torch.onnx.export(
            network,
            (torch.zeros(2, 1, 28, 28),),
            input_names=["image"],
            output_names=outputs,
            dynamic_shapes={"image": {0: torch.export.Dim("N")}},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.optimize()
    return program


@torch.no_grad()
def _torch_logits(network: nn.Module, images: NDArray[np.float32]) -> NDArray[np.float32]:
    logits, _ = split_outputs(network(torch.from_numpy(images)))
    array: NDArray[np.float32] = logits.numpy()
    return array


@torch.no_grad()
def _has_garbage(network: nn.Module) -> bool:
    return split_outputs(network(torch.zeros(1, 1, 28, 28)))[1] is not None
