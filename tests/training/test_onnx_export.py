import numpy as np
import onnx
import pytest
import torch
from tiny import TinyNetwork, draw_digits

from model.classifier import Classifier
from model.errors import ArtifactRefused
from model.onnx_inspect import inspect
from training import onnx_export as exporting
from training import quantization
from training.network import build
from training.onnx_export import ExportError, export, fold_batch_norm


@pytest.fixture(scope="module")
def images():
    return draw_digits(64, seed=9).images[:, None] / np.float32(255)


@pytest.fixture(scope="module")
def exported(images, tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("exported")
    network = overfitted(images, draw_digits(64, seed=9).labels)
    export(network.eval(), images, folder / "fp32.onnx")
    quantization.quantize(folder / "fp32.onnx", images, folder / "int8.onnx")
    return folder


def overfitted(images, labels):
    """A tiny network that knows the digits by heart: an untrained one's labels flip by rounding."""
    network = TinyNetwork().train()
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(60):
        logits, _ = network(torch.from_numpy(images))
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels).long())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (logits.argmax(1).numpy() == labels).all()
    return network


@pytest.mark.parametrize("name", ["default", "prototype"])
def test_the_real_networks_compute_the_same_in_onnx(name, images, tmp_path):
    torch.manual_seed(0)
    done = export(build(name).eval(), images, tmp_path / "fp32.onnx")
    assert done.parity_gap < 1e-4
    assert done.size_bytes == (tmp_path / "fp32.onnx").stat().st_size


def test_a_file_that_computes_something_else_is_not_written(images, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "_torch_logits", lambda network, images: images.sum() + 1)
    with pytest.raises(ExportError, match="differs from torch"):
        export(TinyNetwork().eval(), images, tmp_path / "fp32.onnx")
    assert list(tmp_path.iterdir()) == []


def test_folding_batch_norm_changes_no_logit(images):
    torch.manual_seed(1)
    network = TinyNetwork().train()
    network(torch.from_numpy(images))
    network.eval()
    with torch.no_grad():
        before = network(torch.from_numpy(images))[0]
        after = fold_batch_norm(network)(torch.from_numpy(images))[0]
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["fp32.onnx", "int8.onnx"])
def test_names_shapes_and_opset_are_the_contract(exported, name):
    graph = onnx.load(exported / name)
    assert [value.name for value in graph.graph.input] == ["image"]
    assert [value.name for value in graph.graph.output] == ["logits", "garbage"]
    shape = graph.graph.input[0].type.tensor_type.shape.dim
    assert shape[0].dim_param
    assert [size.dim_value for size in shape[1:]] == [1, 28, 28]
    assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", 18)]
    assert "Softmax" not in {node.op_type for node in graph.graph.node}


@pytest.mark.parametrize("name", ["fp32.onnx", "int8.onnx"])
def test_the_files_may_be_served_and_name_no_machine(exported, name):
    data = (exported / name).read_bytes()
    try:
        inspect(data)
    except ArtifactRefused as refusal:
        pytest.fail(str(refusal))
    assert b".py" not in data


def test_int8_agrees_with_fp32_on_digits(exported, images):
    fp32, int8 = (Classifier((exported / name).read_bytes()) for name in ("fp32.onnx", "int8.onnx"))
    labels = draw_digits(64, seed=9).labels
    change = quantization.compare(fp32, int8, images, labels)
    assert change.flips_frac <= 0.05
    assert change.max_probability_shift < 0.05


def test_int8_weights_are_one_byte_per_channel_scaled(exported):
    graph = onnx.load(exported / "int8.onnx").graph
    weights = [tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
    scales = {tensor.name: tensor for tensor in graph.initializer if "scale" in tensor.name}
    assert weights
    assert any(tensor.dims[:] == [16] for tensor in scales.values())


def test_a_relu_is_part_of_the_quantised_convolution_before_it(exported):
    """A separate Relu would round its input too and convert from int8 and back in each layer."""
    operators = {node.op_type for node in onnx.load(exported / "int8.onnx").graph.node}
    assert "Conv" in operators
    assert "Relu" not in operators


def test_latency_is_measured_for_every_batch_size(exported, images):
    fp32, int8 = (Classifier((exported / name).read_bytes()) for name in ("fp32.onnx", "int8.onnx"))
    latency = quantization.measure_latency(fp32, int8, images)
    assert set(latency.fp32_us) == set(latency.int8_us) == {"1", "8", "32"}
    assert latency.ratio(32) == latency.int8_us["32"] / latency.fp32_us["32"]


def test_a_change_counts_flips_and_drop(exported, images):
    fp32 = Classifier((exported / "fp32.onnx").read_bytes())
    labels = fp32(images).logits.argmax(1).astype(np.uint8)

    class Off:
        def __call__(self, batch):
            scores = fp32(batch)
            scores.logits[:8] = np.roll(scores.logits[:8], 1, axis=1)
            return scores

    change = quantization.compare(fp32, Off(), images, labels)
    assert change.flips_frac == change.drop == 8 / 64
