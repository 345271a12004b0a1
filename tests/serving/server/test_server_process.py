"""A real server process, `python -m serving`, with the clients of BentoML, Triton and KServe."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import bentoml
import numpy as np
import pytest

from model.artifact import load

ROOT = Path(__file__).parents[3]
START_S = 60
KSERVE_PYTHON = ROOT / ".venv-kserve" / "bin" / "python"


def ask(port, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=body, headers=named)
        response = connection.getresponse()
        return response.status, response.read(), response.headers
    finally:
        connection.close()


@pytest.fixture(scope="module")
def framed(images):
    """Three digits as (3, 28, 28) uint8."""
    return np.rint(images[[0, 70, 150], 0] * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def three_labels(crops):
    return [crops[place].label for place in (0, 70, 150)]


def test_the_200_crops_are_read_over_one_connection(port, crops):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    num_right = 0
    for crop in crops:
        connection.request("POST", "/v1/digit", crop.png, {"content-type": "image/png"})
        response = connection.getresponse()
        answer = json.loads(response.read())
        assert response.status == 200
        num_right += answer["digit"] == crop.label
    connection.close()
    assert num_right >= 197


def test_the_champion_is_what_is_served(port):
    _, body, headers = ask(port, "GET", "/v1/model")
    artifact = load()
    assert json.loads(body)["sha256"] == artifact.sha256
    assert headers["x-model-version"] == artifact.version


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_another_method_is_405_over_the_wire(port, method):
    status, body, headers = ask(port, method, "/v1/digit")
    assert status == 405
    assert headers["allow"] == "POST"
    assert (body == b"") is (method == "HEAD")


def test_head_of_a_page_is_its_headers(port):
    status, body, headers = ask(port, "HEAD", "/livez")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 0


@pytest.mark.parametrize("path", ["/healthz", "/docs.json", "/favicon.ico", "/static/x.js"])
def test_bentomls_own_pages_are_not_reachable(port, path):
    assert ask(port, "GET", path)[0] == 404


def test_a_chunked_body_is_read(port, crops):
    parts = [crops[0].png[:100], crops[0].png[100:]]
    status, body, _ = ask(port, "POST", "/v1/digit", iter(parts), content_type="image/png")
    assert status == 200
    assert json.loads(body)["digit"] == crops[0].label


def test_a_chunked_body_over_the_limit_is_413(port):
    parts = (b"\0" * 65_536 for _ in range(40))
    assert ask(port, "POST", "/v1/digit", parts, content_type="image/png")[0] == 413


def test_metrics_name_what_was_served(port, crops):
    ask(port, "POST", "/v1/digit", crops[0].png, content_type="image/png")
    text = ask(port, "GET", "/metrics")[1].decode()
    assert 'digits_requests_total{endpoint="digit",site="local",status="200"}' in text
    assert f'version="{load().version}"' in text


@contextlib.contextmanager
def bentoml_client(port):
    """BentoML's client; it leaves its temporary folder, a warning at exit."""
    with bentoml.SyncHTTPClient(f"http://127.0.0.1:{port}") as client:
        yield client
    client._temp_dir.cleanup()


def test_bentomls_own_client_works(port, images, three_labels):
    with bentoml_client(port) as client:
        probs = np.asarray(client.classify(images=images[[0, 70, 150], 0]))
    assert probs.shape == (3, 10)
    assert probs.argmax(axis=1).tolist() == three_labels
    np.testing.assert_allclose(probs.sum(axis=1), 1.0, atol=1e-5)


def test_a_bad_image_in_bentomls_batch_does_not_affect_others(port, images, three_labels):
    array = images[[0, 70, 150], 0].copy()
    array[1, 5, 5] = np.nan
    with bentoml_client(port) as client:
        probs = np.asarray(client.classify(images=array))
    assert np.isnan(probs[1].astype(float)).all()
    assert probs[[0, 2]].argmax(axis=1).tolist() == [three_labels[0], three_labels[2]]


@pytest.mark.parametrize("images", [[[1, 2, 3]], [1], [[[1.0] * 27] * 28], "none"], ids=repr)
def test_an_invalid_image_is_refused_before_bentomls_batch(port, images):
    body = json.dumps({"images": images}).encode()
    status, answer, headers = ask(port, "POST", "/classify", body, content_type="application/json")
    assert (status, headers["content-type"]) == (400, "application/problem+json")
    assert "send [N, 28, 28]" in json.loads(answer)["detail"]


def test_bentomls_client_raises_our_problem(port):
    with (
        bentoml_client(port) as client,
        pytest.raises(bentoml.exceptions.BentoMLException, match="malformed-request"),
    ):
        client.classify(images=np.zeros((1, 5, 5), np.float32))


@pytest.mark.parametrize("binary", [False, True])
def test_tritons_own_client_works(port, framed, three_labels, binary):
    tritonclient = pytest.importorskip("tritonclient.http")
    client = tritonclient.InferenceServerClient(f"127.0.0.1:{port}")
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    assert client.get_server_metadata()["name"] == "digitline"
    assert client.get_model_metadata("digits")["inputs"][0]["name"] == "image"
    tensor = tritonclient.InferInput("image", list(framed.shape), "UINT8")
    tensor.set_data_from_numpy(framed, binary_data=binary)
    outputs = [
        tritonclient.InferRequestedOutput(name, binary_data=binary)
        for name in ("digit", "probabilities")
    ]
    result = client.infer("digits", [tensor], outputs=outputs)
    assert result.as_numpy("digit").tolist() == three_labels
    assert result.as_numpy("probabilities").shape == (3, 10)
    client.close()


@pytest.mark.parametrize("binary", [False, True])
def test_tritons_client_gets_classes_where_it_asks_for_them(port, framed, three_labels, binary):
    tritonclient = pytest.importorskip("tritonclient.http")
    client = tritonclient.InferenceServerClient(f"127.0.0.1:{port}")
    tensor = tritonclient.InferInput("image", list(framed.shape), "UINT8")
    tensor.set_data_from_numpy(framed)
    wanted = tritonclient.InferRequestedOutput("probabilities", binary_data=binary, class_count=3)
    best = client.infer("digits", [tensor], outputs=[wanted]).as_numpy("probabilities")
    assert best.shape == (3, 3)
    texts = [one.decode() if isinstance(one, bytes) else one for one in best[:, 0]]
    assert [int(text.partition(":")[2]) for text in texts] == three_labels
    client.close()


def test_tritons_client_raises_the_refusal_of_shared_memory(port):
    tritonclient = pytest.importorskip("tritonclient.http")
    client = tritonclient.InferenceServerClient(f"127.0.0.1:{port}")
    tensor = tritonclient.InferInput("image", [1, 28, 28], "UINT8")
    tensor.set_shared_memory("region", 784)
    with pytest.raises(tritonclient.InferenceServerException, match="shared memory"):
        client.infer("digits", [tensor])
    with pytest.raises(tritonclient.InferenceServerException, match="there is nothing at"):
        client.get_system_shared_memory_status()
    client.close()


def test_tritons_client_raises_our_refusal(port):
    tritonclient = pytest.importorskip("tritonclient.http")
    client = tritonclient.InferenceServerClient(f"127.0.0.1:{port}")
    tensor = tritonclient.InferInput("image", [1, 5, 5], "UINT8")
    tensor.set_data_from_numpy(np.zeros((1, 5, 5), np.uint8))
    with pytest.raises(tritonclient.InferenceServerException, match=r"send \[N, 1, 28, 28\]"):
        client.infer("digits", [tensor])
    client.close()


@pytest.mark.slow
@pytest.mark.skipif(not KSERVE_PYTHON.exists(), reason="make .venv-kserve/.set installs KServe")
def test_kserves_own_client_works(port, framed, three_labels, tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, framed)
    done = subprocess.run(
        [KSERVE_PYTHON, ROOT / "tests" / "serving" / "api" / "kserve_client.py",
         f"http://127.0.0.1:{port}", path],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    answers = json.loads(done.stdout.splitlines()[-1])
    assert answers == {"json": three_labels, "binary": three_labels}


def test_64_concurrent_callers_get_their_own_answers(port, crops):
    async def one(crop):
        return await asyncio.to_thread(
            ask, port, "POST", "/v1/digit", crop.png, content_type="image/png"
        )

    async def all_of_them():
        return await asyncio.gather(*(one(crop) for crop in crops[::3][:64]))

    replies = asyncio.run(all_of_them())
    assert {status for status, _, _ in replies} == {200}
    digits = [json.loads(body)["digit"] for _, body, _ in replies]
    labels = [crop.label for crop in crops[::3][:64]]
    assert sum(a == b for a, b in zip(digits, labels, strict=True)) >= 62


def test_the_openapi_document_is_served(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json", timeout=30) as response:
        assert json.load(response)["openapi"] == "3.1.0"


def test_it_logs_its_address_and_exits_silently_on_ctrl_c(tmp_path):
    log = tmp_path / "log"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving"], cwd=ROOT, stdout=output, stderr=output,
            env={**os.environ, "DIGITS_PORT": str(free)},
        )  # fmt: skip
    try:
        give_up = time.monotonic() + START_S
        while process.poll() is None and "address" not in log.read_text():
            assert time.monotonic() < give_up, log.read_text()
            time.sleep(0.1)
        (line,) = (json.loads(line) for line in log.read_text().splitlines())
        assert line["address"] == f"http://127.0.0.1:{free}"
        assert ask(free, "GET", "/readyz")[0] == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert len(log.read_text().splitlines()) == 1
    finally:
        process.kill()
        process.wait()
