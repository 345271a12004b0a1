"""The Open Inference Protocol's codec: JSON or binary tensors -> images, decisions -> tensors.

Knows nothing of how digits are read.

Source:
    KServe, "Open Inference Protocol V2", and Triton's binary tensor data extension.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import ValidationError

from model.decision import Decision
from serving.api.schemas import InferRequest, InferTensor
from serving.messages import Answer, Request
from serving.problems import Problem

MODEL_NAME: Final = "digits"
INPUT_NAME: Final = "image"
MAX_IMAGES: Final = 1024
HEADER_LENGTH: Final = b"inference-header-content-length"
SIDE_PX: Final = 28
_MAX_VALUES: Final = MAX_IMAGES * SIDE_PX * SIDE_PX + 1_000
# Nested data has one list per row.
_MAX_BRACKETS_AND_QUOTES: Final = MAX_IMAGES * (SIDE_PX + 2) + 1_000
_DTYPES: Final[dict[str, np.dtype[Any]]] = {"UINT8": np.dtype("u1"), "FP32": np.dtype("<f4")}
OUTPUTS: Final[dict[str, tuple[str, np.dtype[Any], list[int]]]] = {
    "digit": ("INT64", np.dtype("<i8"), [-1]),
    "confidence": ("FP32", np.dtype("<f4"), [-1]),
    "accepted": ("BOOL", np.dtype("?"), [-1]),
    "probabilities": ("FP32", np.dtype("<f4"), [-1, 10]),
}


@dataclass(frozen=True, slots=True)
class InferCall:
    """A parsed request: the images to read, and the outputs to answer with."""

    id: str
    read_id: str
    sources: list[NDArray[np.uint8]] | list[NDArray[np.float32]]
    outputs: tuple[str, ...]
    binary: frozenset[str]  # outputs to answer in binary


def parse(request: Request) -> InferCall:
    """Parse an inference request: JSON, or JSON followed by binary tensors.

    Raises:
        Problem: 400 the request cannot be parsed; 422 its tensor is not supported.
    """
    head, tail = _split(request)
    check_json(head)
    try:
        call = InferRequest.model_validate(orjson.loads(head))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Problem(
            400, f"the inference request is malformed at {where}: {first['msg']}"
        ) from None
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"the inference request is not JSON: {error}") from None
    if [one.name for one in call.inputs] != [INPUT_NAME]:
        names = ", ".join(one.name[:40] for one in call.inputs)
        raise Problem(422, f"the inputs are [{names}]; send one, named {INPUT_NAME}")
    tensor = _tensor(call.inputs[0], tail)
    images = _images(tensor)
    return InferCall(call.id or request.id, request.read_id, images, *_requested_outputs(call))


def _split(request: Request) -> tuple[bytes, bytes]:
    length = request.headers.get(HEADER_LENGTH)
    if length is None:
        return request.body, b""
    if not length.isdigit() or len(length) > 9 or int(length) > len(request.body):
        raise Problem(
            400,
            f"inference-header-content-length is {length[:20].decode('latin-1')!r}; "
            f"the body has {len(request.body)} bytes",
        )
    return request.body[: int(length)], request.body[int(length) :]


def check_json(text: bytes) -> None:
    """Refuse JSON that takes much longer to parse than images of its size.

    The parser holds the GIL: 8 MB of empty lists would block the process for a second.

    Raises:
        Problem: 422, it has more values or brackets than 1024 images need.
    """
    codes = np.frombuffer(text, dtype=np.uint8)
    num_values = np.count_nonzero(codes == ord(","))
    num_brackets_and_quotes = sum(np.count_nonzero(codes == mark) for mark in b'[{"')
    if num_values > _MAX_VALUES or num_brackets_and_quotes > _MAX_BRACKETS_AND_QUOTES:
        raise Problem(
            422,
            f"the JSON has {num_values} commas and {num_brackets_and_quotes} brackets and quotes; "
            f"{MAX_IMAGES} images need at most {_MAX_VALUES} and {_MAX_BRACKETS_AND_QUOTES}",
        )


def _tensor(spec: InferTensor, tail: bytes) -> NDArray[Any]:
    dtype = _DTYPES.get(spec.datatype)
    if dtype is None:
        raise Problem(422, f"the datatype is {spec.datatype}; send UINT8 or FP32")
    shape = tuple(spec.shape)
    side = (SIDE_PX, SIDE_PX)
    if not (len(shape) in (3, 4) and shape[-2:] == side and shape[1:-2] in ((), (1,))):
        raise Problem(422, f"the shape is {list(shape)[:8]}; send [N, 1, 28, 28] or [N, 28, 28]")
    if not 1 <= shape[0] <= MAX_IMAGES:
        raise Problem(422, f"{shape[0]} images were sent; send 1 to {MAX_IMAGES}")
    num_values = shape[0] * SIDE_PX * SIDE_PX
    if spec.data is not None:
        values = _from_json(spec.data, dtype, num_values)
    else:
        values = _from_binary(spec, tail, dtype, num_values)
    return values.reshape(shape[0], SIDE_PX, SIDE_PX)


def _from_binary(
    spec: InferTensor, tail: bytes, dtype: np.dtype[Any], num_values: int
) -> NDArray[Any]:
    size = (spec.parameters or {}).get("binary_data_size")
    expected = num_values * dtype.itemsize
    if size != expected or len(tail) != expected:
        raise Problem(
            400,
            f"the tensor needs {expected} bytes; binary_data_size is {str(size)[:20]} and "
            f"{len(tail)} bytes follow the JSON",
        )
    return np.frombuffer(tail, dtype=dtype)


def _from_json(data: list[Any], dtype: np.dtype[Any], num_values: int) -> NDArray[Any]:
    """Values from flat or nested data; the protocol allows both."""
    try:
        values = np.asarray(data, dtype=np.float64).ravel()
    except (ValueError, TypeError, OverflowError) as error:
        raise Problem(422, f"the data are not numbers in the tensor's shape: {error}") from None
    if values.size != num_values:
        raise Problem(422, f"the data have {values.size} values; the shape needs {num_values}")
    if dtype.kind == "u" and not (
        np.all(values >= 0) and np.all(values <= 255) and np.all(values == np.trunc(values))
    ):
        raise Problem(422, "UINT8 data must be whole numbers from 0 to 255")
    return values.astype(dtype)


def _images(tensor: NDArray[Any]) -> list[NDArray[np.uint8]] | list[NDArray[np.float32]]:
    """UINT8 images are crops, which the reader frames; FP32 images are framed already."""
    if tensor.dtype == np.uint8:
        return list(tensor)
    # not(...) also refuses NaN, which compares false with everything
    if not (np.all(tensor >= 0.0) and np.all(tensor <= 1.0)):
        raise Problem(422, "FP32 data must be from 0 (paper) to 1 (ink); send UINT8 for raw crops")
    return list(tensor[:, np.newaxis])


def _requested_outputs(call: InferRequest) -> tuple[tuple[str, ...], frozenset[str]]:
    """The requested outputs, and those of them in binary."""
    is_all_binary = (call.parameters or {}).get("binary_data_output") is True
    if not call.outputs:
        names = tuple(OUTPUTS)
        return names, frozenset(names if is_all_binary else ())
    names = tuple(str(output.get("name")) for output in call.outputs)
    for name in names:
        if name not in OUTPUTS:
            raise Problem(
                422, f"there is no output {name[:40]!r}; the outputs are {', '.join(OUTPUTS)}"
            )
    if len(set(names)) < len(names):
        raise Problem(422, f"an output is requested twice: {', '.join(names)}; request each once")
    binary = frozenset(
        str(output["name"])
        for output in call.outputs
        if isinstance(output.get("parameters", {}), dict)
        and output.get("parameters", {}).get("binary_data", is_all_binary) is True
    )
    return names, binary


def answer(call: InferCall, decisions: Sequence[Decision], version: str) -> Answer:
    """Answer with the requested outputs; the digit of a blank image is -1."""
    tensors: dict[str, NDArray[Any]] = {
        "digit": np.array([-1 if one.digit is None else one.digit for one in decisions]),
        "confidence": np.array([one.confidence for one in decisions]),
        "accepted": np.array([one.accepted for one in decisions]),
        "probabilities": np.array([one.probs or [0.0] * 10 for one in decisions]),
    }
    outputs: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for name in call.outputs:
        datatype, dtype, _ = OUTPUTS[name]
        tensor = tensors[name].astype(dtype)
        output: dict[str, Any] = {
            "name": name,
            "datatype": datatype,
            "shape": list(tensor.shape),
        }
        if name in call.binary:
            blobs.append(tensor.tobytes())
            output["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            output["data"] = tensor.ravel().tolist()
        outputs.append(output)
    head = orjson.dumps(
        {
            "model_name": MODEL_NAME,
            "model_version": version,
            "id": call.id,
            "parameters": {"read_id": call.read_id},
            "outputs": outputs,
        }
    )
    if not blobs:
        return Answer(head)
    return Answer(
        b"".join([head, *blobs]),
        content_type=b"application/octet-stream",
        headers=((HEADER_LENGTH, str(len(head)).encode()),),
    )
