"""Champion folders made by hand, for tests that need no training run."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

GARBAGE_THRESHOLD = 0.35  # mean ink of the image; the 200 digits have at most 0.30


@dataclass(frozen=True)
class Crop:
    """One real digit: its file, what it says, and its pixels."""

    name: str
    label: int
    png: bytes
    pixels: NDArray[np.uint8]


def make_model(weights: NDArray[np.float32], *, with_garbage: bool = True) -> onnx.ModelProto:
    """An ONNX model `image` -> `logits` (and `garbage`) of one (784, 10) layer."""
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])]
    initializers = [numpy_helper.from_array(weights, "weights")]
    if with_garbage:
        mean = np.full((784, 1), 1 / 784, dtype=np.float32)
        initializers.append(numpy_helper.from_array(mean, "mean"))
        nodes.append(helper.make_node("MatMul", ["flat", "mean"], ["garbage"]))
        outputs.append(helper.make_tensor_value_info("garbage", TensorProto.FLOAT, ["N", 1]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 28, 28])],
        outputs,
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def write_champion(folder: Path, model: onnx.ModelProto, crop: Crop, **changes: object) -> Path:
    """A champion folder: a model, its golden crop; `changes` replace members of the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx_bytes = model.SerializeToString()
    (folder / "model.onnx").write_bytes(onnx_bytes)
    (folder / "golden.png").write_bytes(crop.png)
    manifest = {
        "schema": 1,
        "name": "digits",
        "version": "tiny-1",
        "created": "2026-11-21T10:00:00Z",
        "sha256": hashlib.sha256(onnx_bytes).hexdigest(),
        "size_bytes": len(onnx_bytes),
        "opset": 17,
        "temperature": 1.0,
        "default_error_target": 0.001,
        "thresholds": [
            {"error_target": 0.0005, "threshold": 0.99, "accepted_frac": 0.7},
            {"error_target": 0.001, "threshold": 0.9, "accepted_frac": 0.8},
            {"error_target": 0.01, "threshold": 0.5, "accepted_frac": 0.9},
        ],
        "garbage_threshold": GARBAGE_THRESHOLD,
        "metrics": {"test_accuracy": 0.99},
        "golden": {"file": "golden.png", "digit": crop.label, "min_confidence": 0.9},
        **changes,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
