"""Promotion of another model than the digit reader: gate, registry, champion folder, log."""

import json
from pathlib import Path

import numpy as np
import pytest

from capture.store import open_store
from model.champion_files import FileRules, read_files, verify_files
from model.errors import ArtifactRefused
from training import promotion_log
from training.gate_verdict import Verdict, at_least
from training.model_store import VersionError
from training.promotion import Candidate, PromotionRefused, promote, roll_back

pytestmark = [
    pytest.mark.slow,
    # mlflow and its parts warn of their own futures; the versions are pinned
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ROOT = Path(__file__).parents[2]
RULES = FileRules(("manifest.json", "model.onnx", "names.txt"), 5_000_000, ("version", "names"))
GOOD, BAD = (Verdict((at_least("accuracy", value, 0.8),)) for value in (0.9, 0.7))


@pytest.fixture
def candidate():
    return Candidate(
        name="other",
        onnx_bytes=(ROOT / "model" / "champion" / "model.onnx").read_bytes(),  # of any kind
        example={"image": np.zeros((1, 1, 28, 28), np.float32)},
        metrics={"accuracy": 0.9},
        manifest={"names": 2},
        files={"names.txt": b"a b"},
        data={"rows": "sha256:0"},
    )


@pytest.fixture
def go(candidate, tmp_path, monkeypatch):
    from training import tracking

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    champion = tmp_path / "models" / "champion"

    def check(folder):
        return verify_files(read_files(folder, RULES), RULES)

    def run(verdict=GOOD, check=check):
        store = open_store(str(tmp_path / "store"))
        return promote(candidate, verdict, champion, store, check=check, why="a test")

    run.champion, run.check, run.tracking = champion, check, tracking
    return run


def test_a_candidate_that_passed_is_served_kept_logged_and_registered(go):
    assert [go(), go()] == ["1", "2"]
    verified = go.check(go.champion)
    assert (verified.version, verified.manifest["metrics"]) == ("2", {"accuracy": 0.9})
    assert verified.files["names.txt"] == b"a b"
    log = promotion_log.read(go.champion)
    assert [(one.from_version, one.to_version) for one in log] == [(None, "1"), ("1", "2")]
    run_id = json.loads((go.champion / "manifest.json").read_text())["run_id"]
    assert go.tracking.find_by_run(run_id, model="other").version == "2"
    client = go.tracking.mlflow.MlflowClient()
    assert str(client.get_model_version_by_alias("other", "champion").version) == "2"


def test_a_candidate_that_failed_changes_nothing(go):
    with pytest.raises(PromotionRefused, match=r"accuracy: 0\.7"):
        go(BAD)
    assert not go.champion.exists()


def test_a_folder_that_serving_would_refuse_changes_nothing(go):
    go()

    def refuse(folder):
        raise ArtifactRefused("unfit")

    with pytest.raises(ArtifactRefused):
        go(check=refuse)
    assert go.check(go.champion).version == "1"
    assert go() == "2"  # what was staged is in nobody's way


def test_an_earlier_champion_comes_back_with_its_alias(go, tmp_path):
    store = open_store(str(tmp_path / "store"))

    def back(**options):
        return roll_back("other", go.champion, store, check=go.check, why="worse", **options)

    with pytest.raises(VersionError, match="there is no champion"):
        back()
    go()
    go()
    assert back().to_version == "1"
    assert go.check(go.champion).version == "1"
    client = go.tracking.mlflow.MlflowClient()
    assert str(client.get_model_version_by_alias("other", "champion").version) == "1"
    with pytest.raises(VersionError, match="no champion before version 1"):
        back()
    assert back(to_version="2").to_version == "2"
    assert go() == "3"
