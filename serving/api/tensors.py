"""The Open Inference Protocol's codec: JSON or binary tensors -> images, decisions -> tensors.

Knows nothing of how digits are read.

Source:
    KServe, "Open Inference Protocol V2", and Triton's binary tensor data extension.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import ValidationError

from model.decision import Decision
from serving.api.classification import to_binary, top_classes
from serving.api.tensor_schemas import (
    MAX_IMAGES,
    MAX_JSON_IMAGES,
    InferInput,
    InferOutput,
    InferRequest,
)
from serving.messages import Answer, Request
from serving.problems import Problem

MODEL_NAME: Final = "digits"
INPUT_NAME: Final = "image"
HEADER_LENGTH: Final = b"inference-header-content-length"
SIDE_PX: Final = 28
# The parser holds the GIL. 2 MB of numbers take 20 ms; 2 MB of empty lists would take 400 ms.
MAX_JSON_BYTES: Final = 2_097_152
_MAX_VALUES: Final = MAX_JSON_IMAGES * SIDE_PX * SIDE_PX + 1_000
_MAX_BRACKETS_AND_QUOTES: Final = MAX_JSON_IMAGES * (SIDE_PX + 2) + 1_000  # a list for each row
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
    classes: Mapping[str, int]  # outputs to answer as their highest values, and how many


def parse(request: Request) -> InferCall:
    """Parse an inference request: JSON, or JSON followed by binary tensors.

    Raises:
        Problem: 400 the request cannot be parsed; 422 its tensor is not supported.
    """
    head, tail = _split(request)
    try:
        call = InferRequest.model_validate(parse_json(head))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Problem(
            400, f"the inference request is malformed at {where}: {first['msg']}"
        ) from None
    if [one.name for one in call.inputs] != [INPUT_NAME]:
        names = ", ".join(one.name[:40] for one in call.inputs)
        raise Problem(422, f"the inputs are [{names}]; send one, named {INPUT_NAME}")
    _refuse_shared_memory(call)
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


def parse_json(text: bytes) -> Any:
    """The value of a JSON text; refuses text that takes long to parse.

    Raises:
        Problem: 400 it is not JSON; 413 it is longer than 2 MB; 422 it has more values or brackets
            than 256 images need.
    """
    if len(text) > MAX_JSON_BYTES:
        raise Problem(
            413,
            f"the JSON has {len(text)} bytes; at most {MAX_JSON_BYTES} are read. On /v2, send the "
            "tensor in binary; elsewhere, split the request",
        )
    num_values = text.count(b",")
    num_brackets_and_quotes = sum(text.count(mark) for mark in (b"[", b"{", b'"'))
    if num_values > _MAX_VALUES or num_brackets_and_quotes > _MAX_BRACKETS_AND_QUOTES:
        raise Problem(
            422,
            f"the JSON has {num_values} commas and {num_brackets_and_quotes} brackets and quotes; "
            f"{MAX_JSON_IMAGES} images need at most {_MAX_VALUES} and {_MAX_BRACKETS_AND_QUOTES}; "
            f"on /v2, {MAX_IMAGES} images may come in binary",
        )
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"the body is not JSON: {error}") from None


def numbers(data: list[Any]) -> NDArray[np.float64]:
    """The numbers of flat or nested lists, in their shape.

    Raises:
        Problem: 422, an entry is no number, or the lists of one level have different lengths.
    """
    try:
        values = np.asarray(data)
    except (ValueError, TypeError, OverflowError) as error:
        raise Problem(422, f"the data are not numbers in one shape: {error}") from None
    if values.dtype.kind not in "iufb":  # else numpy would read text as numbers, as in "nan"
        raise Problem(422, "the data hold an entry that is not a number")
    return values.astype(np.float64)


def _refuse_shared_memory(call: InferRequest) -> None:
    """Shared memory would be another machine's. Other parameters are ignored, as Triton does."""
    for parameters in (
        call.parameters,
        *(one.parameters for one in call.inputs),
        *(one.parameters for one in call.outputs or ()),
    ):
        if any(name.startswith("shared_memory") for name in parameters or ()):
            raise Problem(422, "shared memory is not supported; send the tensors in the body")


def _tensor(spec: InferInput, tail: bytes) -> NDArray[Any]:
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
        if tail or "binary_data_size" in (spec.parameters or {}):
            raise Problem(400, "the tensor has both data and binary data; send one of them")
        values = _from_json(spec.data, dtype, num_values)
    else:
        values = _from_binary(spec, tail, dtype, num_values)
    return values.reshape(shape[0], SIDE_PX, SIDE_PX)


def _from_binary(
    spec: InferInput, tail: bytes, dtype: np.dtype[Any], num_values: int
) -> NDArray[Any]:
    size = (spec.parameters or {}).get("binary_data_size")
    expected = num_values * dtype.itemsize
    if type(size) is not int or size != expected or len(tail) != expected:
        raise Problem(
            400,
            f"the tensor needs {expected} bytes; binary_data_size is {str(size)[:20]} and "
            f"{len(tail)} bytes follow the JSON",
        )
    return np.frombuffer(tail, dtype=dtype)


def _from_json(data: list[Any], dtype: np.dtype[Any], num_values: int) -> NDArray[Any]:
    """Values from flat or nested data; the protocol allows both."""
    values = numbers(data).ravel()
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


def _requested_outputs(
    call: InferRequest,
) -> tuple[tuple[str, ...], frozenset[str], dict[str, int]]:
    """The requested outputs; those of them in binary; those as their highest values."""
    is_all_binary = _flag(call.parameters, "binary_data_output", default=False)
    if not call.outputs:
        names = tuple(OUTPUTS)
        return names, frozenset(names if is_all_binary else ()), {}
    names = tuple(output.name for output in call.outputs)
    for name in names:
        if name not in OUTPUTS:
            raise Problem(
                422, f"there is no output {name[:40]!r}; the outputs are {', '.join(OUTPUTS)}"
            )
    if len(set(names)) < len(names):
        raise Problem(422, f"an output is requested twice: {', '.join(names)}; request each once")
    binary = frozenset(
        output.name
        for output in call.outputs
        if _flag(output.parameters, "binary_data", default=is_all_binary)
    )
    return names, binary, _requested_classes(call.outputs)


def _flag(parameters: dict[str, Any] | None, name: str, *, default: bool) -> bool:
    value = (parameters or {}).get(name, default)
    if not isinstance(value, bool):
        raise Problem(400, f"{name} is {str(value)[:20]!r}; give true or false")
    return value


def _requested_classes(outputs: list[InferOutput]) -> dict[str, int]:
    """How many of its highest values each output with the classification parameter shows."""
    classes: dict[str, int] = {}
    for output in outputs:
        count = (output.parameters or {}).get("classification")
        if count is None:
            continue
        if type(count) is not int or count < 1:
            raise Problem(400, f"classification is {str(count)[:20]!r}; give a whole number from 1")
        if OUTPUTS[output.name][0] == "BOOL":
            raise Problem(422, f"{output.name} is BOOL; classification needs numbers")
        classes[output.name] = count
    return classes


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
        tensor = tensors[name].astype(OUTPUTS[name][1])
        output, blob = _output(name, tensor, call)
        outputs.append(output)
        blobs += [blob] if blob is not None else []
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


def _output(
    name: str, tensor: NDArray[Any], call: InferCall
) -> tuple[dict[str, Any], bytes | None]:
    """One output's JSON, and its data if they go in binary behind the JSON."""
    datatype, shape = OUTPUTS[name][0], list(tensor.shape)
    is_binary = name in call.binary
    if name in call.classes:
        rows = top_classes(tensor, call.classes[name])
        datatype, shape = "BYTES", [len(rows), len(rows[0])]
        blob = to_binary(rows) if is_binary else None
        data = [element for row in rows for element in row]
    else:
        blob = tensor.tobytes() if is_binary else None
        data = [] if is_binary else tensor.ravel().tolist()
    output: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
    if blob is not None:
        return {**output, "parameters": {"binary_data_size": len(blob)}}, blob
    return {**output, "data": data}, None
