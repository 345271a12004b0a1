import numpy as np
import onnx
import pytest
import torch
from tiny import TinyNetwork, draw_digits
from torch import nn

from model.classifier import Classifier
from training import quantization
from training.onnx_export import export
from training.space_to_depth import blocks_to_channels


@pytest.fixture(scope="module")
def images():
    return draw_digits(200, seed=4).images[:, None] / np.float32(255)


def quantised(stem, images, folder, monkeypatch):
    """The int8 model as it was before its first convolution is rewritten."""
    torch.manual_seed(3)
    network = TinyNetwork()
    network.body = nn.Sequential(stem, nn.ReLU(), nn.MaxPool2d(28 // 7 // stem.stride[0]))
    export(network.eval(), images[:20], folder / "fp32.onnx")
    with monkeypatch.context() as without:
        without.setattr(quantization, "blocks_to_channels", lambda model: False)
        quantization.quantize(folder / "fp32.onnx", images[:20], folder / "int8.onnx")
    return onnx.load(folder / "int8.onnx")


def outputs(model, images):
    scores = Classifier(model.SerializeToString())(images)
    return scores.logits.tobytes(), scores.garbage.tobytes()


@pytest.mark.parametrize(
    "stem",
    [
        nn.Conv2d(1, 16, 4, 2, 1),
        pytest.param(nn.Conv2d(1, 16, 2, 2, 0), marks=pytest.mark.slow),
        pytest.param(nn.Conv2d(1, 16, (4, 2), 2, (1, 0)), marks=pytest.mark.slow),
        pytest.param(nn.Conv2d(1, 16, 6, 2, 2), marks=pytest.mark.slow),
    ],
)
def test_the_rewritten_model_gives_the_same_to_the_last_bit(stem, images, tmp_path, monkeypatch):
    model = quantised(stem, images, tmp_path, monkeypatch)
    expected = outputs(model, images)
    assert blocks_to_channels(model)
    assert "SpaceToDepth" in {node.op_type for node in model.graph.node}
    onnx.checker.check_model(model, full_check=True)
    assert outputs(model, images) == expected


class Shifted(nn.Conv2d):
    def forward(self, image):
        return super().forward(image - 0.5)


@pytest.mark.parametrize(
    "stem",
    [
        Shifted(1, 16, 4, 2, 1),
        pytest.param(nn.Conv2d(1, 16, 3, 1, 1), marks=pytest.mark.slow),
        pytest.param(nn.Conv2d(1, 16, 3, 2, 1), marks=pytest.mark.slow),
        pytest.param(nn.Conv2d(1, 16, 4, 2, 3, dilation=2), marks=pytest.mark.slow),
    ],
)
def test_another_convolution_is_left_alone(stem, images, tmp_path, monkeypatch):
    model = quantised(stem, images, tmp_path, monkeypatch)
    before = model.SerializeToString()
    assert not blocks_to_channels(model)
    assert model.SerializeToString() == before


def test_a_side_that_is_not_of_whole_blocks_is_left_alone(images, tmp_path, monkeypatch):
    model = quantised(nn.Conv2d(1, 16, 4, 2, 1), images, tmp_path, monkeypatch)
    convolution = next(node for node in model.graph.node if node.op_type == "Conv")
    (pads,) = (one for one in convolution.attribute if one.name == "pads")
    pads.ints[:] = [1, 0, 0, 1]
    assert not blocks_to_channels(model)


def test_what_is_quantised_has_been_rewritten(images, tmp_path):
    export(TinyNetwork().eval(), images, tmp_path / "fp32.onnx")
    quantization.quantize(tmp_path / "fp32.onnx", images, tmp_path / "int8.onnx")
    model = onnx.load(tmp_path / "int8.onnx")
    assert "SpaceToDepth" in {node.op_type for node in model.graph.node}
