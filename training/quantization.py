"""fp32 ONNX -> static int8 QDQ ONNX, and measurements of what int8 changed.

Edge: writes the file and reads the clock. Knows nothing about training.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from model.classifier import Classifier
from model.decision import softmax
from training.space_to_depth import blocks_to_channels

NUM_QUANT_CALIBRATION = 500  # more images changed no measured number
BATCH_SIZES = (1, 8, 32)
MIN_ROUNDS = 5
TIMING_S = 1.0  # for each batch size, both models together
# With Relu in this list, onnxruntime fuses each Relu into the convolution before it. Without it,
# the convolution's output is rounded to int8 before the Relu, negative values included, and each
# layer converts to int8 and back (champion 3: 31.5 us a digit without, 27.6 with). The two heads
# are 0.1 % of the work. They stay float32, so the logits are exact.
QUANTISED_OPS = ["Conv", "Relu"]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Feeds quant-calibration images one by one."""

    def __init__(self, name: str, images: NDArray[np.float32]) -> None:
        self._name = name
        self._images: Iterator[NDArray[np.float32]] = iter(images)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        image = next(self._images, None)
        return None if image is None else {self._name: image[None]}


def quantize(source: Path, images: NDArray[np.float32], path: Path) -> None:
    """Write the int8 model: per channel, U8 activations, S8 weights, only ONNX's own operators.

    Args:
        source: fp32 ONNX file from `export`.
        images: (B, 1, 28, 28) float32 training images, for quant-calibration.
        path: file to write.
    """
    model = quantized(source, images, QUANTISED_OPS)
    blocks_to_channels(model)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def quantized(source: Path, images: NDArray[np.float32], ops: Sequence[str]) -> onnx.ModelProto:
    """An int8 model of any network: per channel, U8 activations, S8 weights.

    Args:
        source: fp32 ONNX file with one input.
        images: (B, C, H, W) float32 training images, for quant-calibration.
        ops: the operators to quantize.
    """
    logging.getLogger().addFilter(_not_quantisation_advice)
    with tempfile.TemporaryDirectory() as name:
        prepared, quantised = Path(name) / "prepared.onnx", Path(name) / "quantised.onnx"
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantised,
            _Reader(onnx.load(source).graph.input[0].name, images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(ops),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        model = onnx.load(quantised)
    logging.getLogger().removeFilter(_not_quantisation_advice)
    own = [opset for opset in model.opset_import if opset.domain in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend(own)
    del model.metadata_props[:]
    return model


def _not_quantisation_advice(record: logging.LogRecord) -> bool:
    """Drop onnxruntime's advice to pre-process, which `quantize` has just done."""
    return "pre-processing before quantization" not in str(record.msg)


@dataclass(frozen=True, slots=True)
class Latency:
    """Microseconds per image on one thread, by batch size."""

    fp32_us: Mapping[str, float]
    int8_us: Mapping[str, float]

    def ratio(self, batch_size: int) -> float:
        """int8 / fp32: below 1 is a gain."""
        return self.int8_us[str(batch_size)] / self.fp32_us[str(batch_size)]


@dataclass(frozen=True, slots=True)
class QuantisationChange:
    """What int8 changed on one labelled set."""

    fp32_accuracy: float
    int8_accuracy: float
    flips_frac: float  # of images whose digit changed
    mean_probability_shift: float  # of the top class's probability, absolute
    max_probability_shift: float

    @property
    def drop(self) -> float:
        """Accuracy lost; negative when int8 happens to be better."""
        return self.fp32_accuracy - self.int8_accuracy


def compare(
    fp32: Classifier, int8: Classifier, batch: NDArray[np.float32], labels: NDArray[np.uint8]
) -> QuantisationChange:
    """Score a labelled set with both models."""
    exact, rounded = fp32(batch).logits, int8(batch).logits
    exact_digits, rounded_digits = exact.argmax(1), rounded.argmax(1)
    rows = np.arange(len(labels))
    shift = np.abs(
        softmax(exact, 1.0)[rows, exact_digits] - softmax(rounded, 1.0)[rows, exact_digits]
    )
    return QuantisationChange(
        fp32_accuracy=float((exact_digits == labels).mean()),
        int8_accuracy=float((rounded_digits == labels).mean()),
        flips_frac=float((exact_digits != rounded_digits).mean()),
        mean_probability_shift=float(shift.mean()),
        max_probability_shift=float(shift.max()),
    )


def measure_latency(fp32: Classifier, int8: Classifier, images: NDArray[np.float32]) -> Latency:
    """Time both models call by call, in turn; take the fastest call of each.

    The processor time of the calling thread, which does all the work: other load on the machine
    makes the clock run on while the thread waits, and would refuse a candidate for its neighbours.

    Args:
        fp32: the exact model.
        int8: the quantised model.
        images: (B, 1, 28, 28) float32, B >= 32.
    """
    models = {"fp32": fp32, "int8": int8}
    fastest = {name: dict.fromkeys(map(str, BATCH_SIZES), np.inf) for name in models}
    for size in BATCH_SIZES:
        batch = images[:size]
        spent_s, num_rounds = 0.0, 0
        while spent_s < TIMING_S or num_rounds < MIN_ROUNDS:
            num_rounds += 1
            for name, classifier in models.items():
                before = time.thread_time()
                classifier(batch)
                taken_s = time.thread_time() - before
                spent_s += taken_s
                each_us = round(taken_s / size * 1e6, 2)
                fastest[name][str(size)] = min(fastest[name][str(size)], each_us)
    return Latency(fp32_us=fastest["fp32"], int8_us=fastest["int8"])
