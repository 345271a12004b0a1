import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from own_server import free_port
from tiny import TinyNetwork, draw_digits

from training.onnx_export import export

ROOT = Path(__file__).parents[2]

pytestmark = [
    # mlflow and its parts warn of their own futures; the versions are pinned
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "int8.onnx"
    export(TinyNetwork().eval(), draw_digits(8, seed=1).images[:, None] / np.float32(255), path)
    return path


def record_a_run(tracking, onnx_file, note):
    """What the steps do with a server: a run in two parts, two models, three aliases."""
    with tracking.run(name="test") as run_id:
        tracking.log_metrics({"validation_accuracy": 0.9}, step=1)
        tracking.log_tags({"git_commit": "0" * 40})
    with tracking.run(run_id=run_id):
        tracking.log_file(note, folder="evaluation")
        example = {"image": np.zeros((1, 1, 28, 28), np.float32)}
        first = tracking.register(onnx_file, model=tracking.MODEL, example=example, tags={"a": "b"})
        second = tracking.register(onnx_file, model=tracking.MODEL, example=example, tags={})
    assert tracking.find_alias(tracking.CHAMPION) is None
    tracking.set_alias(first.version, tracking.CHAMPION)
    tracking.set_alias(second.version, tracking.CANDIDATE)
    return run_id, first, second


def check_a_run(tracking, onnx_file, tmp_path, recorded):
    run_id, first, second = recorded
    assert (first.version, second.version) == ("1", "2")
    assert first.run_id == run_id
    assert first.tags == {"a": "b"}
    assert tracking.find_alias(tracking.CHAMPION).version == "1"
    assert tracking.find_alias(tracking.CANDIDATE).version == "2"
    tracking.set_alias("2", tracking.CHAMPION)
    assert tracking.find_alias(tracking.CHAMPION).version == "2"
    assert tracking.fetch_onnx("1", tmp_path) == onnx_file.read_bytes()


def test_runs_and_aliases_in_sqlite_in_the_working_folder(onnx_file, tmp_path, monkeypatch):
    from training import tracking

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking.connect() == f"sqlite:///{tmp_path}/mlflow.db"
    note = tmp_path / "note.txt"
    note.write_text("kept")
    recorded = record_a_run(tracking, onnx_file, note)
    check_a_run(tracking, onnx_file, tmp_path, recorded)
    assert (tmp_path / "mlflow.db").exists()
    assert list((tmp_path / "mlartifacts").rglob("note.txt"))


CONNECT = """
from training import tracking
tracking.connect()
print("experiment", tracking.mlflow.get_experiment_by_name(tracking.EXPERIMENT).experiment_id)
"""
REGISTER = """
import sys
from pathlib import Path
import numpy as np
from training import tracking
tracking.connect()
example = {"image": np.zeros((1, 1, 28, 28), np.float32)}
with tracking.run(name="test"):
    made = tracking.register(
        Path(sys.argv[1]), model=tracking.MODEL, example=example, tags={"a": "b"}
    )
tracking.set_alias(made.version, tracking.CANDIDATE)
print("version", made.version)
"""


def run_three(program, folder, *arguments):
    """Start three processes at once in a folder; what each printed last, sorted."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    env.pop("MLFLOW_TRACKING_URI", None)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            cwd=folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    ended = [(*one.communicate(timeout=300), one.returncode) for one in started]
    assert [code for *_, code in ended] == [0, 0, 0], ended
    return sorted(out.splitlines()[-1] for out, *_ in ended)


def test_the_dataset_column_shows_the_data_version(tmp_path, monkeypatch):
    import mlflow

    from training import tracking

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracking.connect()
    place = "s3://digits/data/snapshots/2026-11"
    with tracking.run(name="test") as run_id:
        tracking.log_dataset("mail", version="2026-11-1f3a9c2e", place=place)
    (shown,) = mlflow.get_run(run_id).inputs.dataset_inputs
    assert (shown.dataset.name, shown.dataset.digest) == ("mail", "2026-11-1f3a9c2e")
    assert place in shown.dataset.source
    assert shown.tags[0].value == "training"


def test_three_first_trainers_at_once_share_one_new_database(tmp_path):
    said = run_three(CONNECT, tmp_path)
    assert len({*said}) == 1
    assert (tmp_path / "mlflow.db.lock").exists()


def test_a_tracking_server_needs_no_lock():
    from training import tracking

    with tracking._one_at_a_time("https://mlflow.example"), tracking._one_at_a_time("http://a"):
        pass


def test_an_experiment_that_another_host_made_first_is_taken(tmp_path, monkeypatch):
    from training import tracking

    monkeypatch.chdir(tmp_path)
    uri = tracking.connect(f"sqlite:///{tmp_path}/other.db")
    answers = iter([None])  # the look before the other host's creation finds nothing
    real = tracking.mlflow.get_experiment_by_name
    monkeypatch.setattr(
        tracking.mlflow, "get_experiment_by_name", lambda name: next(answers, real(name))
    )
    tracking._create_experiment(uri, tracking.EXPERIMENT)


@pytest.mark.slow
def test_three_first_trainers_at_once_register_three_versions(onnx_file, tmp_path):
    said = run_three(REGISTER, tmp_path, str(onnx_file))
    assert said == ["version 1", "version 2", "version 3"]


@pytest.fixture
def mlflow_server(postgres, tmp_path):
    pytest.importorskip("psycopg2", reason="psycopg2 is not installed: MLflow needs it here")
    port = free_port()
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
                *("--backend-store-uri", postgres, "--host", "127.0.0.1", "--port", str(port)),
                *("--artifacts-destination", (tmp_path / "artifacts").as_uri()),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=tmp_path,
            start_new_session=True,
        )
    try:
        wait_until_healthy(server, port, tmp_path / "server.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=20)


def wait_until_healthy(server, port, log, limit_s=90.0):
    started = time.monotonic()
    while time.monotonic() - started < limit_s:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    pytest.fail(f"mlflow server is not healthy after {limit_s} s:\n{log.read_text()}")


@pytest.mark.slow
def test_runs_and_aliases_on_a_server_with_postgresql(
    mlflow_server, onnx_file, tmp_path, monkeypatch
):
    from training import tracking

    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    assert tracking.connect() == mlflow_server
    note = tmp_path / "note.txt"
    note.write_text("kept")
    recorded = record_a_run(tracking, onnx_file, note)
    check_a_run(tracking, onnx_file, tmp_path / "fetched", recorded)
    assert list((tmp_path / "artifacts").rglob("note.txt"))
