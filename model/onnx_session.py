"""A verified ONNX file in a session: arrays in, arrays out, whatever the model is."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from model.errors import ModelError

_LOG_ERRORS_ONLY: Final = 3


class OnnxSession:
    """One onnxruntime session on one thread, because other cores run other workers.

    Args:
        onnx_bytes: a model that `model.champion_files` has verified.

    Raises:
        ModelError: onnxruntime refuses the model.
    """

    def __init__(self, onnx_bytes: bytes) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = _LOG_ERRORS_ONLY
        options.add_session_config_entry(
            "session.x64quantprecision", "1"
        )  # see model/classifier.py
        try:
            self._session = ort.InferenceSession(
                onnx_bytes, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own exceptions share no public base
            raise ModelError(f"onnxruntime refuses the model: {error}") from error
        self.inputs: dict[str, Sequence[Any]] = {
            one.name: one.shape for one in self._session.get_inputs()
        }
        self.outputs: dict[str, Sequence[Any]] = {
            one.name: one.shape for one in self._session.get_outputs()
        }

    def run(self, outputs: Sequence[str], inputs: Mapping[str, np.ndarray]) -> list[Any]:
        """The named outputs, each with one row for each row of the inputs.

        Raises:
            ModelError: inference failed.
        """
        try:
            found: list[Any] = self._session.run(list(outputs), dict(inputs))
        except Exception as error:  # onnxruntime's own exceptions share no public base
            shapes = {name: array.shape for name, array in inputs.items()}
            raise ModelError(f"inference failed on {shapes}: {error}") from error
        return found
