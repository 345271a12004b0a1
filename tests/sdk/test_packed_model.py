"""The model in the wheel is the service's: its code, its weights, its answers."""

import io
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hatch_build import CHAMPION_FILES, LEFT_OUT, pack, rewritten
from PIL import Image

import digitline
from digitline.answers import Candidate
from digitline.exceptions import CropRefused, OfflineUnavailable
from digitline.local_reader import LocalReader, Rules
from model.artifact import load
from model.classifier import Classifier
from model.errors import CropError
from serving.api.digits import reading_fields
from serving.problems import problem_of, to_dict
from serving.reading.batch_reading import read_batch
from serving.reading.preparing import NotFramed
from serving.served_model import ServedModel

ROOT = Path(__file__).parents[2]


def picture(pixels, form="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


@pytest.fixture(scope="module")
def odd_crops(crops):
    noise = np.random.default_rng(7).integers(0, 256, (60, 40), dtype=np.uint8)
    scan = np.kron(255 - crops[0].pixels, np.ones((5, 5), dtype=np.uint8))
    return [
        picture(np.full((28, 28), 255, dtype=np.uint8)),
        picture(noise),
        picture(scan, "JPEG"),
        picture(np.zeros((3, 50), dtype=np.uint8)),
        crops[0].png[:100],
        b"GIF89a",
        b"",
    ]


@pytest.fixture(scope="module")
def served():
    artifact = load()
    return ServedModel(artifact, artifact.policy(), Classifier(artifact.onnx_bytes), 0.1)


def test_the_packed_code_differs_from_the_models_in_its_imports_only(packed):
    sources = {path.name for path in (ROOT / "model").glob("*.py")} - LEFT_OUT
    assert {path.name for path in packed.glob("*.py")} == sources
    for name in sources:
        before = (ROOT / "model" / name).read_text().splitlines()
        after = (packed / name).read_text().splitlines()
        changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
        for old, new in changed:
            assert old.lstrip().startswith("from model")
            assert new == old.replace("from model", "from digitline._model", 1)


def test_the_packed_champion_is_the_served_one(packed):
    for name in CHAMPION_FILES:
        served = (ROOT / "model" / "champion" / name).read_bytes()
        assert (packed / "champion" / name).read_bytes() == served


@pytest.mark.parametrize(
    "source",
    ["import model.decode\n", "import model\n", "from model import explain\n",
     "def f():\n    from model.occlusion import Occlusion\n"],
)  # fmt: skip
def test_an_import_that_cannot_be_packed_stops_the_build(source):
    with pytest.raises(ValueError, match=r"x\.py:\d imports .*cannot be packed"):
        rewritten(source, "x.py")


def test_a_folder_without_the_model_stops_the_build(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no Python files"):
        pack(tmp_path, tmp_path)


def served_readings(sources, served):
    """What the service's batches of 32 make of them; what one has no time for goes on alone."""
    readings = []
    for start in range(0, len(sources), 32):
        for one in read_batch(sources[start : start + 32], served):
            while isinstance(one, NotFramed):
                one = read_batch([one.decoded], served)[0]
            readings.append(one)
    return readings


def test_local_answers_are_the_services_to_the_bit(reader, served, crops, odd_crops):
    sources = [crop.png for crop in crops] + odd_crops
    theirs = served_readings(sources, served)
    for source, their in zip(sources, theirs, strict=True):
        if isinstance(their, CropError):
            with pytest.raises(CropRefused) as caught:
                reader.read(source, "r")
            problem = to_dict(problem_of(their), "r")
            assert {name: getattr(caught.value.problem, name) for name in problem} == problem
            continue
        ours = reader.read(source, "r")
        fields = reading_fields(their.decision, 5)
        fields["candidates"] = tuple(Candidate(**one) for one in fields["candidates"])
        assert {name: getattr(ours, name) for name in fields} == fields
        assert ours.rejected_because == their.decision.rejected_because
        assert (ours.source, ours.model_version) == ("local", served.artifact.version)


def test_the_reader_knows_the_rules_that_the_service_tells(reader, served):
    policy = served.policy
    told = {
        "sha256": served.artifact.sha256,
        "thresholds": {"confidence": policy.threshold, "garbage": policy.garbage_threshold,
                       "temperature": policy.temperature, "error_target": 0.001},
    }  # fmt: skip
    assert Rules.of_service(json.loads(json.dumps(told))) == reader.rules


def test_a_stricter_error_target_raises_the_threshold(packed):
    reader = LocalReader()
    targets = sorted(row["error_target"] for row in load().manifest["thresholds"])
    usual = reader.rules
    reader.set_error_target(targets[0])
    assert reader.rules.threshold > usual.threshold
    assert replace(reader.rules, threshold=usual.threshold) == usual
    with pytest.raises(OfflineUnavailable, match="below the lowest"):
        reader.set_error_target(targets[0] / 2)


@pytest.fixture
def tampered(packed, tmp_path):
    """The packed champion, for a test that changes it."""
    kept = tmp_path / "kept"
    shutil.copytree(packed / "champion", kept)
    yield packed / "champion"
    shutil.rmtree(packed / "champion")
    shutil.copytree(kept, packed / "champion")


def test_a_changed_model_is_refused(tampered):
    content = bytearray((tampered / "model.onnx").read_bytes())
    content[-100] ^= 1
    (tampered / "model.onnx").write_bytes(content)
    with pytest.raises(OfflineUnavailable, match="sha256"):
        LocalReader()


def test_a_model_that_misreads_its_golden_crop_is_refused(tampered, crops):
    other = next(crop for crop in crops if crop.label != load().golden.digit)
    (tampered / "golden.png").write_bytes(other.png)
    with pytest.raises(OfflineUnavailable, match="reads its golden crop as"):
        LocalReader()


def test_without_a_packed_model_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(digitline, "__path__", digitline.__path__[:1])
    for name in ("artifact", "classifier", "decision", "decode", "errors", "preprocess"):
        monkeypatch.delitem(sys.modules, f"digitline._model.{name}", raising=False)
    monkeypatch.delitem(sys.modules, "digitline._model", raising=False)
    with pytest.raises(OfflineUnavailable, match="install a built wheel"):
        LocalReader()
