"""The parts of BentoML that the service depends on: an upgrade that changes them fails here."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import bentoml
import pytest
import yaml

import service
from serving.edge.edge import Edge

ROOT = Path(__file__).parents[3]


def test_bentoml_is_the_version_that_this_was_written_for():
    assert bentoml.__version__ == "1.4.40"


def test_the_service_is_of_our_class():
    assert isinstance(service.DigitService, service.EdgeService)
    assert type(service.DigitService).to_asgi is service.EdgeService.to_asgi


def test_bentomls_worker_asks_the_service_for_its_application():
    from _bentoml_impl.worker import service as worker

    source = inspect.getsource(worker)
    assert ".to_asgi(" in source
    assert "uvicorn" in source


def test_to_asgi_has_bentomls_parameters():
    theirs = inspect.signature(bentoml.Service.to_asgi)
    ours = inspect.signature(service.EdgeService.to_asgi)
    assert list(theirs.parameters) == list(ours.parameters)


def test_the_application_of_a_worker_is_ours():
    assert isinstance(service.DigitService.to_asgi(), Edge)


def test_no_api_takes_a_file_or_a_picture():
    """BentoML would fetch a URL that a caller sends in place of a file."""
    for api in service.DigitService.apis.values():
        schema = str(api.input_spec.model_json_schema())
        assert "file" not in schema
        assert "image/" not in schema


def test_the_batchable_api_waits_long_enough_to_be_called_adaptive():
    api = service.DigitService.apis["classify"]
    assert api.batchable
    assert api.max_latency_ms >= 100


def test_what_the_bento_includes_exists():
    content = yaml.safe_load((ROOT / "bentofile.yaml").read_text())
    for pattern in content["include"]:
        assert list(ROOT.glob(pattern)), f"{pattern} matches nothing"


@pytest.fixture(scope="module")
def bento(tmp_path_factory):
    """(environment, sources) of a bento that `bentoml build` has made."""
    home = tmp_path_factory.mktemp("bentoml")
    environment = {**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
    environment.pop("PYTHONPATH", None)
    built = subprocess.run(
        [sys.executable, "-m", "bentoml", "build", "--output", "tag", str(ROOT)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr[-3000:]
    (sources,) = home.glob("bentos/digits/*/src")
    return environment, sources


@pytest.mark.slow
def test_bentoml_build_works_and_the_bento_holds_the_champion(bento):
    _, sources = bento
    for name in ("service.py", "serving/edge/edge.py", "model/champion/model.onnx"):
        assert (sources / name).read_bytes() == (ROOT / name).read_bytes()
    assert not (sources / "training").exists()
    assert not (sources / "tests").exists()


@pytest.mark.slow
def test_the_built_bento_can_be_imported(bento):
    """The checkout is not on the path, so a module missing from `include` fails here."""
    environment, sources = bento
    done = subprocess.run(
        [sys.executable, "-c", "import service; service.DigitService.to_asgi(); print('ok')"],
        cwd=sources, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout.strip().endswith("ok"), done.stderr[-3000:]
