"""Rewrite the first int8 convolution to read four channels at half the side: same result, faster.

With one input channel, onnxruntime's int8 convolution spends most of its time on gathering pixels.
When the image's 2x2 blocks become channels, a 4x4 convolution of stride 2 becomes a 2x2
convolution of stride 1 with the same weights. It takes 3.3 us of a digit's 30 instead of 6.2.
Pure: knows ONNX graphs, not files.

Source:
    ONNX operators, SpaceToDepth, for the order of the new channels.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

BLOCK_PX = 2


def blocks_to_channels(model: onnx.ModelProto) -> bool:
    """Rewrite the convolution of `image` where it has stride 2, an even kernel and one channel.

    Args:
        model: a quantised (QDQ) graph, changed in place. Its outputs stay the same, to the bit.

    Returns:
        Whether there was such a convolution.
    """
    graph = model.graph
    made_by = {name: node for node in graph.node for name in node.output}
    quantise = next(node for node in graph.node if node.input[0] == "image")
    first = next(node for node in graph.node if node.op_type == "Conv")
    if (
        quantise.op_type != "QuantizeLinear"
        or made_by[first.input[0]].input[0] != quantise.output[0]
    ):
        return False
    weights_name = made_by[first.input[1]].input[0]
    weights = next(one for one in graph.initializer if one.name == weights_name)
    sizes = {one.name: helper.get_attribute_value(one) for one in first.attribute}
    top, left, bottom, right = sizes["pads"]
    rows, columns = (size.dim_value for size in graph.input[0].type.tensor_type.shape.dim[2:])
    _, num_channels, height, width = weights.dims
    in_blocks = (height, width, rows + top + bottom, columns + left + right)
    if (
        num_channels != 1
        or (sizes["strides"], sizes["dilations"]) != ([BLOCK_PX, BLOCK_PX], [1, 1])
        or any(length % BLOCK_PX for length in in_blocks)
    ):
        return False
    turned = _blocks_of(numpy_helper.to_array(weights))
    weights.CopyFrom(numpy_helper.from_array(turned, weights_name))
    sizes |= {"kernel_shape": turned.shape[2:], "strides": [1, 1], "pads": [0, 0, 0, 0]}
    del first.attribute[:]
    first.attribute.extend(helper.make_attribute(name, value) for name, value in sizes.items())
    # Pad in float32, before the image is quantised, so that the padding is exactly 0.
    edges = np.array([0, 0, top, left, 0, 0, bottom, right], dtype=np.int64)
    graph.initializer.append(numpy_helper.from_array(edges, "image_edges"))
    before = [
        helper.make_node("Pad", ["image", "image_edges"], ["image_padded"]),
        helper.make_node("SpaceToDepth", ["image_padded"], ["image_blocks"], blocksize=BLOCK_PX),
    ]
    quantise.input[0] = "image_blocks"
    nodes = [*before, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]  # the old shapes are wrong now; the loader infers new ones
    return True


def _blocks_of(weights: NDArray[np.int8]) -> NDArray[np.int8]:
    """(F, 1, H, W) weights as (F, 4, H/2, W/2), a channel for each place in a block."""
    num_filters, _, height, width = weights.shape
    split = weights.reshape(num_filters, height // BLOCK_PX, BLOCK_PX, width // BLOCK_PX, BLOCK_PX)
    by_place = split.transpose(0, 2, 4, 1, 3)
    return by_place.reshape(num_filters, -1, height // BLOCK_PX, width // BLOCK_PX)
