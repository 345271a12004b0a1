"""An output tensor -> its highest values as text: Triton's classification extension.

Source:
    Triton Inference Server, docs/protocol/extension_classification.md. The server writes a value
    with std::to_string.
"""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray


def top_classes(tensor: NDArray[Any], count: int) -> list[list[str]]:
    """The highest values of each image as "value:index", highest first.

    Args:
        tensor: (N,) or (N, C), of numbers.
        count: at most this many for each image.

    Returns:
        N lists of min(count, C) texts; C is 1 for a tensor of rank 1.
    """
    rows = tensor.reshape(len(tensor), -1)
    order = np.argsort(-rows, axis=1, kind="stable")[:, :count]
    write = "{:.6f}:{}" if tensor.dtype.kind == "f" else "{}:{}"
    return [
        [write.format(row[index], index) for index in best]
        for row, best in zip(rows.tolist(), order.tolist(), strict=True)
    ]


def to_binary(rows: list[list[str]]) -> bytes:
    """A BYTES tensor in binary: before each element its length, in 4 bytes, little-endian."""
    elements = [element.encode() for row in rows for element in row]
    return b"".join(struct.pack("<I", len(one)) + one for one in elements)
