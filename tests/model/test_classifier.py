import numpy as np
import onnx
import pytest
from champions import make_model
from numpy.testing import assert_allclose, assert_array_equal
from onnx import helper

from model.classifier import WARM_UP_BATCHES, Classifier
from model.errors import ModelError


@pytest.fixture
def weights():
    return np.random.default_rng(7).normal(0, 0.1, (784, 10)).astype(np.float32)


@pytest.fixture
def classifier(weights):
    return Classifier(make_model(weights).SerializeToString())


def test_logits_and_garbage_have_one_row_per_image(classifier, images):
    scores = classifier(images[:5])
    assert scores.logits.shape == (5, 10)
    assert scores.logits.dtype == np.float32
    assert scores.garbage.shape == (5,)
    assert scores.garbage.dtype == np.float32


def test_the_scores_are_those_of_the_network(classifier, weights, images):
    scores = classifier(images)
    assert_allclose(scores.logits, images.reshape(200, 784) @ weights, atol=1e-4)
    assert_allclose(scores.garbage, images.mean(axis=(1, 2, 3)), atol=1e-6)


def test_a_model_without_garbage_output_gives_minus_infinity(weights, images):
    model = make_model(weights, with_garbage=False)
    scores = Classifier(model.SerializeToString())(images[:3])
    assert_array_equal(scores.garbage, [-np.inf] * 3)


def test_a_batch_of_any_size_is_scored(classifier, images):
    for size in (1, 2, 3, 31, 64, 200):
        assert len(classifier(images[:size]).logits) == size


def test_warm_up_runs_the_usual_sizes(classifier, monkeypatch):
    sizes = []
    monkeypatch.setattr(Classifier, "__call__", lambda self, batch: sizes.append(len(batch)))
    classifier.warm_up()
    assert tuple(sizes) == WARM_UP_BATCHES


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((1, 1, 28, 27), dtype=np.float32),
        np.zeros((1, 28, 28), dtype=np.float32),
        np.zeros((1, 1, 28, 28), dtype=np.float64),
    ],
    ids=["side", "rank", "dtype"],
)
def test_a_batch_of_another_shape_or_type_is_a_model_error(classifier, batch):
    with pytest.raises(ModelError, match="inference failed on a batch of 1"):
        classifier(batch)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_logit_that_is_no_number_is_a_model_error(weights, images, value):
    weights[300, 4] = value
    classifier = Classifier(make_model(weights).SerializeToString())
    with pytest.raises(ModelError, match="not finite"):
        classifier(images[:2])


def test_a_garbage_score_that_is_no_number_is_a_model_error(weights, images):
    """NaN compares false with every threshold: everything would pass for a digit."""
    model = make_model(weights)
    model.graph.initializer[1].CopyFrom(
        onnx.numpy_helper.from_array(np.full((784, 1), np.nan, np.float32), "mean")
    )
    classifier = Classifier(model.SerializeToString())
    with pytest.raises(ModelError, match="not finite"):
        classifier(images[:2])


@pytest.mark.parametrize("junk", [b"", b"hello", b"\x08\x07"])
def test_bytes_that_are_not_a_model_are_a_model_error(junk):
    with pytest.raises(ModelError, match="refuses"):
        Classifier(junk)


def test_an_output_of_another_name_is_refused(weights):
    model = make_model(weights, with_garbage=False)
    model.graph.node[1].output[0] = "scores"
    model.graph.output[0].name = "scores"
    with pytest.raises(ModelError, match="outputs are"):
        Classifier(model.SerializeToString())


def test_an_input_of_another_name_is_refused(weights):
    model = make_model(weights)
    model.graph.node[0].input[0] = "picture"
    model.graph.input[0].name = "picture"
    with pytest.raises(ModelError, match="input is"):
        Classifier(model.SerializeToString())


def test_an_input_of_another_shape_is_refused(weights):
    model = make_model(weights)
    wide = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["N", 2, 14, 28])
    model.graph.input[0].CopyFrom(wide)
    with pytest.raises(ModelError, match="input is"):
        Classifier(model.SerializeToString())
