"""Check what an ONNX file refers to before onnxruntime loads it.

A model file can refer to other files (external data) and native code (custom operators); a plain
int8 CNN needs neither. The file is parsed as protobuf here, because the serving image has no onnx
package (43 MB at import). Knows nothing about manifests or sessions.

Source:
    onnx.proto3 for the field numbers; Protocol Buffers, "Encoding", for the walk.
"""

from collections.abc import Collection, Iterator
from typing import Final

from model.errors import ArtifactRefused

OPSETS: Final = range(13, 24)  # QDQ per channel needs 13; onnxruntime 1.31 was tested up to 23

# Field numbers of onnx.proto3; a test compares them with the onnx package.
_MODEL_GRAPH, _MODEL_OPSET, _MODEL_TRAINING_INFO, _MODEL_FUNCTIONS = 7, 8, 20, 25
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE_INITIALIZER = 1, 5, 15
_NODE_ATTRIBUTE, _NODE_DOMAIN = 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_ATTRIBUTE_SPARSE_TENSOR, _ATTRIBUTE_SPARSE_TENSORS = 22, 23
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14
# Other attributes that can hold tensors or graphs. A CNN needs none, so they are refused.
_UNNEEDED_IN_ATTRIBUTE: Final = (
    _ATTRIBUTE_TENSORS,
    _ATTRIBUTE_GRAPHS,
    _ATTRIBUTE_SPARSE_TENSOR,
    _ATTRIBUTE_SPARSE_TENSORS,
)
_MAX_VARINT_BITS: Final = 64
_DEFAULT_DOMAINS: Final = (b"", b"ai.onnx")


def inspect(onnx_bytes: bytes, *, domains: Collection[str] = ()) -> None:
    """Refuse a model that needs more than ONNX's own operators on its own weights.

    Args:
        onnx_bytes: the file.
        domains: of operators that are allowed too, because onnxruntime itself has them.

    Raises:
        ArtifactRefused: external data, a custom operator domain, functions of its own, sparse
            weights, an untested opset, or not an ONNX file.
    """
    allowed = (*_DEFAULT_DOMAINS, *(domain.encode() for domain in domains))
    try:
        model = list(_fields(onnx_bytes))
        sets = [_opset(value, allowed) for number, value in model if number == _MODEL_OPSET]
        # a set, because skl2onnx imports the same version twice
        versions = {version for domain, version in sets if domain in _DEFAULT_DOMAINS}
        if any(number in (_MODEL_FUNCTIONS, _MODEL_TRAINING_INFO) for number, _ in model):
            raise ArtifactRefused(
                "the model has functions or training graphs of its own; export it without them"
            )
        graphs = [value for number, value in model if number == _MODEL_GRAPH]
        for graph in graphs:
            _inspect_graph(_message(graph), allowed)
    except (IndexError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise ArtifactRefused(f"model.onnx is not an ONNX file: {error!r}") from error
    if len(graphs) != 1 or len(versions) != 1:
        raise ArtifactRefused(
            f"model.onnx holds {len(graphs)} graphs and imports the opsets {sorted(versions)}; "
            "export it with one of each"
        )
    if not versions <= set(OPSETS):
        raise ArtifactRefused(
            f"model.onnx uses opset {max(versions)}; {OPSETS.start} to {OPSETS.stop - 1} are tested"
        )


def _opset(value: int | bytes, allowed: Collection[bytes]) -> tuple[bytes, int]:
    fields = dict(_fields(_message(value)))
    domain = fields.get(_OPSET_DOMAIN, b"")
    if isinstance(domain, int) or domain not in allowed:
        raise ArtifactRefused(
            f"model.onnx uses the operator domain {domain!r}; only ONNX's own is allowed"
        )
    return domain, int(fields[_OPSET_VERSION])


def _inspect_graph(graph: bytes, allowed: Collection[bytes]) -> None:
    for number, value in _fields(graph):
        if number == _GRAPH_INITIALIZER:
            _inspect_tensor(_message(value))
        elif number == _GRAPH_NODE:
            _inspect_node(_message(value), allowed)
        elif number == _GRAPH_SPARSE_INITIALIZER:
            raise ArtifactRefused("model.onnx has sparse weights; export it with dense ones")


def _inspect_node(node: bytes, allowed: Collection[bytes]) -> None:
    for number, value in _fields(node):
        if number == _NODE_DOMAIN and value not in allowed:
            raise ArtifactRefused(f"model.onnx uses an operator of the domain {value!r}")
        if number != _NODE_ATTRIBUTE:
            continue
        for attribute_number, attribute in _fields(_message(value)):
            if attribute_number == _ATTRIBUTE_TENSOR:
                _inspect_tensor(_message(attribute))
            elif attribute_number == _ATTRIBUTE_GRAPH:
                _inspect_graph(_message(attribute), allowed)
            elif attribute_number in _UNNEEDED_IN_ATTRIBUTE:
                raise ArtifactRefused(
                    "model.onnx has an attribute of several or sparse tensors, or of several "
                    "graphs; a classifier needs none"
                )


def _inspect_tensor(tensor: bytes) -> None:
    for number, value in _fields(tensor):
        if number == _TENSOR_EXTERNAL_DATA or (number == _TENSOR_DATA_LOCATION and value != 0):
            raise ArtifactRefused("model.onnx keeps weights in other files; export it as one file")


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise TypeError("a number where a message is expected")
    return value


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Walk one protobuf message: (field number, varint or bytes) pairs."""
    position, end = 0, len(message)
    while position < end:
        key, position = _varint(message, position)
        number, wire_type = key >> 3, key & 7
        if wire_type == 0:
            value, position = _varint(message, position)
            yield number, value
            continue
        if wire_type == 2:
            size, position = _varint(message, position)
        elif wire_type in (1, 5):
            size = 8 if wire_type == 1 else 4
        else:
            raise ValueError(f"wire type {wire_type} at byte {position}")
        if position + size > end:
            raise ValueError(f"a field of {size} bytes runs past the end")
        yield number, message[position : position + size]
        position += size


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift >= _MAX_VARINT_BITS:
            raise ValueError(f"a number of more than {_MAX_VARINT_BITS} bits")
