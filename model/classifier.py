"""Batch -> logits, by an ONNX session. Knows nothing about crops or thresholds."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from model.errors import ModelError

IMAGE_SHAPE: Final = (1, 28, 28)
WARM_UP_BATCHES: Final = (1, 2, 8, 32)  # onnxruntime plans its memory per batch size

# onnxruntime prints a warning for each machine feature that it does not find; errors stay.
_LOG_ERRORS_ONLY: Final = 3


@dataclass(frozen=True, slots=True)
class Scores:
    """The network's outputs for a batch, before any decision."""

    logits: NDArray[np.float32]  # (B, 10)
    garbage: NDArray[
        np.float32
    ]  # (B,), higher is less like a digit; -inf: the model has no such output


class Classifier:
    """One onnxruntime session on one thread.

    A batch of digits is too small to split: waking a second thread costs more than it computes, and
    the other cores run other workers.

    Args:
        onnx_bytes: a model that `model.artifact` has verified.

    Raises:
        ModelError: the bytes are not a model with our input and outputs.
    """

    def __init__(self, onnx_bytes: bytes) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = _LOG_ERRORS_ONLY
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # x86 without VNNI adds pairs of int8 products in 16 bits, which saturate and change digits
        # (98.5 instead of 99.5 % of the 200 crops of tests/data/crops). This setting takes exact
        # kernels there, at twice the time; it changes nothing on processors with VNNI or on ARM.
        # Source: onnxruntime_session_options_config_keys.h, kOrtSessionOptionsAvx2PrecisionMode.
        options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            self._session = ort.InferenceSession(
                onnx_bytes, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own exceptions share no public base
            raise ModelError(f"onnxruntime refuses the model: {error}") from error
        names = [output.name for output in self._session.get_outputs()]
        if names not in (["logits", "garbage"], ["logits"]):
            raise ModelError(f"the model's outputs are {names}; logits and garbage are expected")
        inputs = self._session.get_inputs()
        if [node.name for node in inputs] != ["image"] or inputs[0].shape[1:] != [*IMAGE_SHAPE]:
            raise ModelError(f"the model's input is {inputs}; image [N, 1, 28, 28] is expected")
        self._outputs = names

    def __call__(self, batch: NDArray[np.float32]) -> Scores:
        """Score a batch.

        Args:
            batch: (B, 1, 28, 28) float32 in [0, 1], B >= 1.

        Raises:
            ModelError: inference failed, or gave a value that is not a number.
        """
        try:
            outputs = self._session.run(self._outputs, {"image": batch})
        except Exception as error:  # onnxruntime's own exceptions share no public base
            raise ModelError(f"inference failed on a batch of {len(batch)}: {error}") from error
        logits: NDArray[np.float32] = outputs[0]
        if not all(np.isfinite(output).all() for output in outputs):
            raise ModelError(f"inference gave scores that are not finite, batch of {len(batch)}")
        if len(outputs) == 1:
            return Scores(logits, np.full(len(batch), -np.inf, dtype=np.float32))
        return Scores(logits, outputs[1].reshape(-1))

    def warm_up(self) -> None:
        """Run the usual batch sizes once, so that no request waits for the first memory plan."""
        for size in WARM_UP_BATCHES:
            self(np.zeros((size, *IMAGE_SHAPE), dtype=np.float32))
