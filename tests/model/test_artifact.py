import json

import numpy as np
import onnx
import pytest
from champions import make_model, write_champion

from model.artifact import CHAMPION, MAX_MODEL_BYTES, load
from model.champion_files import SEAL, sealed
from model.errors import ArtifactRefused, ModelError


def rewrite(folder, **changes):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, **changes}))


def test_a_whole_champion_is_loaded(own_champion, crops):
    artifact = load(own_champion)
    assert artifact.version == "tiny-1"
    assert artifact.golden.png == crops[0].png
    assert artifact.golden.digit == crops[0].label
    assert artifact.onnx_bytes == (own_champion / "model.onnx").read_bytes()


def test_a_flipped_bit_anywhere_is_refused(own_champion):
    path = own_champion / "model.onnx"
    whole = path.read_bytes()
    for position in range(0, len(whole), len(whole) // 50):
        flipped = bytearray(whole)
        flipped[position] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(ArtifactRefused, match="sha256"):
            load(own_champion)


def test_a_truncated_model_is_refused(own_champion):
    path = own_champion / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactRefused, match="sha256"):
        load(own_champion)


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "golden.png"])
def test_a_missing_file_is_refused_by_its_name(own_champion, name):
    (own_champion / name).unlink()
    with pytest.raises(ArtifactRefused, match=name):
        load(own_champion)


def test_an_oversize_model_is_refused_even_with_the_right_sha256(tmp_path, crops):
    weights = np.zeros((784, 10), dtype=np.float32)
    model = make_model(weights)
    model.doc_string = "x" * MAX_MODEL_BYTES
    write_champion(tmp_path, model, crops[0])
    with pytest.raises(ArtifactRefused, match=str(MAX_MODEL_BYTES)):
        load(tmp_path)


def test_a_model_of_a_foreign_kind_is_refused_even_with_the_right_sha256(
    tmp_path, tiny_model, crops
):
    model = onnx.ModelProto()
    model.CopyFrom(tiny_model)
    model.graph.node[0].domain = "evil"
    write_champion(tmp_path, model, crops[0])
    with pytest.raises(ArtifactRefused, match="evil"):
        load(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, "[]", "null", "7", '"x"', "{}", "\x00", '{"schema": 1}']
)
def test_a_malformed_manifest_is_refused(own_champion, text):
    (own_champion / "manifest.json").write_text(text)
    with pytest.raises(ArtifactRefused, match=r"manifest\.json"):
        load(own_champion)


def test_a_manifest_that_is_not_text_is_refused(own_champion):
    (own_champion / "manifest.json").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ArtifactRefused, match=r"manifest\.json"):
        load(own_champion)


def test_a_changed_number_anywhere_in_a_sealed_manifest_is_refused(own_champion):
    """A threshold of 0.19 in place of 0.99 would accept what it must not."""
    path = own_champion / "manifest.json"
    text = json.dumps(sealed(json.loads(path.read_text())))
    path.write_text(text)
    load(own_champion)
    end = text.index(f'"{SEAL}"')  # its name alone protects nothing else
    digits = [place for place, char in enumerate(text[:end]) if char in "123456789"]
    for place in digits[:: len(digits) // 50 + 1]:
        path.write_text(text[:place] + "0" + text[place + 1 :])
        with pytest.raises(ArtifactRefused):
            load(own_champion)


def test_the_shipped_manifest_is_sealed():
    assert SEAL in load(CHAMPION).manifest


def test_a_manifest_of_another_schema_is_refused(own_champion):
    rewrite(own_champion, schema=2)
    with pytest.raises(ArtifactRefused, match="schema 2"):
        load(own_champion)


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0},
        {"temperature": -1.0},
        {"temperature": "warm"},
        {"thresholds": []},
        {"thresholds": "none"},
        {"thresholds": [{"error_target": 0.001}]},
        {"thresholds": [{"error_target": 0.001, "threshold": 1.5}]},
        {"thresholds": [{"error_target": 0.001, "threshold": 0.9}, {"error_target": 0.1}]},
        {"default_error_target": None},
        {"garbage_threshold": "high"},
        {"golden": {}},
        {"golden": "golden.png"},
        {"golden": {"file": "golden.png", "digit": "seven", "min_confidence": 0.9}},
        {"golden": {"file": "golden.png", "digit": 7}},
        {"golden": {"file": 7, "digit": 7, "min_confidence": 0.9}},
    ],
    ids=str,
)
def test_a_manifest_with_an_impossible_member_is_refused(own_champion, change):
    rewrite(own_champion, **change)
    with pytest.raises(ArtifactRefused):
        load(own_champion)


def test_a_golden_file_outside_of_the_folder_is_not_read(own_champion):
    (own_champion.parent / "secret.png").write_bytes(b"secret")
    rewrite(own_champion, golden={"file": "../secret.png", "digit": 1, "min_confidence": 0.5})
    with pytest.raises(ArtifactRefused, match=r"secret\.png"):
        load(own_champion)


@pytest.mark.parametrize(
    ("error_target", "threshold"),
    [(None, 0.9), (0.0005, 0.99), (0.0009, 0.99), (0.001, 0.9), (0.005, 0.9), (0.5, 0.5)],
)
def test_the_threshold_is_that_of_the_largest_target_not_above_the_wanted(
    tiny_champion, error_target, threshold
):
    assert load(tiny_champion).policy(error_target).threshold == threshold


def test_a_target_that_was_not_validated_is_refused_with_the_lowest_that_was(tiny_champion):
    with pytest.raises(ArtifactRefused, match=r"0\.0001 is below .*0\.0005.*DIGITS_ERROR_TARGET"):
        load(tiny_champion).policy(0.0001)


def test_a_refusal_is_ours_and_not_the_callers(own_champion):
    (own_champion / "model.onnx").unlink()
    with pytest.raises(ModelError):
        load(own_champion)
