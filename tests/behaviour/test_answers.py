"""What the champion answers, and what it rejects."""

import hashlib
import itertools
import json
import shutil

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose

from infra.settings import GOLDEN_CROPS
from model.artifact import CHAMPION, load
from model.classifier import Classifier
from model.decision import decide, softmax
from model.decode import decode
from model.errors import ArtifactRefused, BlankCrop
from model.preprocess import preprocess


def test_the_champion_passes_the_checks_of_serving(artifact):
    assert artifact.sha256 == hashlib.sha256((CHAMPION / "model.onnx").read_bytes()).hexdigest()


def test_the_golden_crop_is_read_as_when_the_champion_was_promoted(artifact, read):
    (decision,) = read([decode(artifact.golden.png)])
    assert decision.digit == artifact.golden.digit
    assert decision.confidence >= artifact.golden.min_confidence


def test_the_crops_that_approve_a_release_are_accepted(crops, read):
    chosen = [crop for crop in crops if crop.name.removesuffix(".png") in GOLDEN_CROPS]
    decisions = read([crop.pixels for crop in chosen])
    assert [decision.digit for decision in decisions] == [crop.label for crop in chosen]
    assert {decision.rejected_because for decision in decisions} == {None}
    assert len(chosen) == 10


def test_a_crops_answer_alone_is_its_answer_in_a_batch_of_64(images, classifier):
    together = classifier(images[:64])
    for place in range(64):
        alone = classifier(images[place : place + 1])
        assert_allclose(alone.logits[0], together.logits[place], atol=1e-4)
        assert_allclose(alone.garbage[0], together.garbage[place], atol=1e-4)


def test_a_crops_answer_does_not_depend_on_its_neighbours(images, classifier):
    dull = np.repeat(images[:1], 32, axis=0)
    wild = np.concatenate([images[:1], np.random.default_rng(1).random((31, 1, 28, 28))])
    first, second = classifier(dull), classifier(wild.astype(np.float32))
    assert_allclose(first.logits[0], second.logits[0], atol=1e-4)


def test_the_same_crop_gets_the_same_answer_again(images, classifier):
    first, second = classifier(images[:32]), classifier(images[:32])
    assert np.array_equal(first.logits, second.logits)


@pytest.mark.parametrize("grey", [0, 90, 255])
def test_a_blank_crop_is_refused(grey):
    with pytest.raises(BlankCrop):
        preprocess(np.full((50, 40), grey, dtype=np.uint8))


def test_the_bolder_part_of_the_crops_is_accepted(crops, read):
    decisions = read([crop.pixels for crop in crops])
    assert np.mean([one.accepted for one in decisions]) >= 0.8


def test_nearly_all_accepted_digits_are_right(crops, read):
    decisions = read([crop.pixels for crop in crops])
    wrong = [
        crop.name
        for crop, one in zip(crops, decisions, strict=True)
        if one.accepted and one.digit != crop.label
    ]
    assert len(wrong) <= 1


def garbage(kind, rng):
    crop = np.full((48, 48), 235, dtype=np.uint8)
    if kind == "noise":
        return rng.integers(0, 256, (48, 48), dtype=np.uint8)
    if kind == "solid":
        crop[8:40, 8:40] = 20
    elif kind == "checks":
        crop[8:40, 8:40] = np.kron(np.indices((8, 8)).sum(axis=0) % 2, np.ones((4, 4))) * 200
    elif kind == "scribble":
        for _ in range(25):
            row, column = rng.integers(2, 38, 2)
            if rng.random() < 0.5:
                crop[row : row + 2, column : column + 10] = 20
            else:
                crop[row : row + 10, column : column + 2] = 20
    return crop


@pytest.mark.parametrize("kind", ["noise", "solid", "checks", "scribble"])
def test_what_is_no_digit_is_seldom_accepted(read, kind):
    rng = np.random.default_rng(11)
    decisions = read([garbage(kind, rng) for _ in range(50)])
    assert np.mean([one.accepted for one in decisions]) <= 0.1


def test_a_higher_threshold_accepts_less_and_never_something_new(artifact, classifier, images):
    scores = classifier(images)
    targets = [row["error_target"] for row in artifact.manifest["thresholds"]]
    accepted = [
        {place for place, one in enumerate(decide(scores, artifact.policy(target))) if one.accepted}
        for target in sorted(targets)
    ]
    for strict, lenient in itertools.pairwise(accepted):
        assert strict <= lenient


def to_fp32(model):
    """The same graph in float32: weights dequantised, activations not quantised."""
    quantised = ("QuantizeLinear", "DequantizeLinear")
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    renamed, kept = {}, []
    for node in model.graph.node:
        if node.op_type not in quantised:
            kept.append(node)
        elif node.input[0] in constants:
            weights = dequantise(node, constants)
            model.graph.initializer.append(onnx.numpy_helper.from_array(weights, node.output[0]))
        elif node.op_type == "QuantizeLinear" and not constants[node.input[2]]:
            # Its range has no values below zero: before quantisation this was a Relu.
            kept.append(onnx.helper.make_node("Relu", [node.input[0]], [node.output[0]]))
        else:
            renamed[node.output[0]] = renamed.get(node.input[0], node.input[0])
    for node in kept:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    outputs = [
        onnx.helper.make_node("Identity", [renamed[one.name]], [one.name])
        for one in model.graph.output
        if one.name in renamed
    ]
    del model.graph.node[:]
    model.graph.node.extend([*kept, *outputs])
    return model


def dequantise(node, constants):
    values, scale, zero = (constants[name] for name in node.input[:3])
    axis = next((one.i for one in node.attribute if one.name == "axis"), 1)
    shape = [1] * values.ndim
    if scale.ndim:
        shape[axis] = len(scale)
    offset = values.astype(np.int32) - zero.reshape(shape).astype(np.int32)
    return offset.astype(np.float32) * scale.reshape(shape).astype(np.float32)


def test_int8_agrees_with_fp32(artifact, classifier, images):
    """The shipped int8 graph compared with the same weights and float32 activations."""
    model = onnx.load_from_string(artifact.onnx_bytes)
    if not any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        pytest.skip("the champion is fp32")
    fp32 = Classifier(to_fp32(model).SerializeToString())(images).logits
    int8 = classifier(images).logits
    assert (fp32.argmax(axis=1) == int8.argmax(axis=1)).mean() >= 0.995
    temperature = artifact.policy().temperature
    shift = np.abs(softmax(int8, temperature) - softmax(fp32, temperature))
    assert shift.mean() < 0.005


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(CHAMPION, tmp_path / "champion")


def test_the_champion_with_one_bit_flipped_is_refused(copy):
    path = copy / "model.onnx"
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(ArtifactRefused, match="sha256"):
        load(copy)


def test_the_champions_metrics_are_those_that_the_gate_asks_for(artifact):
    metrics = artifact.manifest["metrics"]
    assert metrics["test_accuracy"] >= 0.993
    assert abs(metrics["test_accuracy"] - metrics["fp32_test_accuracy"]) <= 0.001


def test_a_session_of_a_tampered_manifest_is_never_made(copy):
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "sha256": "0" * 64}))
    with pytest.raises(ArtifactRefused):
        load(copy)


def test_the_model_knows_ten_digits(artifact, images):
    scores = Classifier(artifact.onnx_bytes)(images[:3])
    assert scores.logits.shape == (3, 10)
