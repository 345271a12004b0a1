"""Each example is started as its users start it: keys, limits, batches, records, drain, hash."""

import io
import json
import shutil
import signal
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image
from running_example import ROOT, RunningExample, detail, made_champion

from capture.answer_rows import read_answers
from capture.archive import parse_window
from capture.ship import ship_once
from capture.store import open_store

PRODUCT = {"name": "space-race", "description": "racing game with space ships"}


def photo():
    """A picture of noise as PNG."""
    noise = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


@dataclass(frozen=True)
class Example:
    """What the rails' checks must know of an example."""

    name: str
    path: str
    body: bytes
    content_type: str
    feature: str  # one that is recorded
    num_items: int  # in one request
    num_at_once: int  # requests that come together


TEXT = Example(
    name="text_pattern",
    path="/v1/sections",
    body=json.dumps([PRODUCT]).encode(),
    content_type="application/json",
    feature="num_words",
    num_items=1,
    num_at_once=32,
)
# Packages and champion of the others come from `make example-champion`.
PHOTO = Example(
    name="photo_tags",
    path="/v1/tags",
    body=photo(),
    content_type="image/png",
    feature="brightness",
    num_items=1,
    num_at_once=8,
)
MATCHES = Example(
    name="product_similarity",
    path="/v1/matches",
    body=json.dumps({"products": ["oak table", "lamp"], "queries": ["desk"]}).encode(),
    content_type="application/json",
    feature="cluster_0",
    num_items=3,
    num_at_once=8,
)
PICTURES = Example(
    name="monthly_embeddings",
    path="/v1/pictures",
    body=json.dumps({"texts": ["a slice of pizza", "cat"]}).encode(),
    content_type="application/json",
    feature="best",
    num_items=2,
    num_at_once=8,
)
EXAMPLES = [
    pytest.param(TEXT, id=TEXT.name, marks=pytest.mark.slow),
    pytest.param(PHOTO, id=PHOTO.name, marks=pytest.mark.nightly),
    pytest.param(MATCHES, id=MATCHES.name, marks=pytest.mark.nightly),
    pytest.param(PICTURES, id=PICTURES.name, marks=pytest.mark.nightly),
]


def champion_of(example):
    shipped = ROOT / "examples" / example.name / "champion"
    return shipped if shipped.exists() else made_champion(example.name)


@pytest.fixture(scope="module", params=EXAMPLES)
def example(request):
    return request.param


@pytest.fixture(scope="module")
def running(example, tmp_path_factory):
    server = RunningExample(
        example.name,
        tmp_path_factory.mktemp("running"),
        max_body_bytes=100_000,
        max_queue_wait_ms=20_000,  # a busy machine refuses nothing
        request_deadline_ms=30_000,
    )
    try:
        yield server.wait()
    finally:
        server.kill()


def test_a_request_needs_a_key(running, example):
    kind = {"content_type": example.content_type}
    assert running.ask("POST", example.path, example.body, key=False, **kind)[0] == 401
    assert running.ask("POST", example.path, example.body, **kind)[0] == 200


def test_a_body_over_the_limit_is_refused(running, example):
    reply = running.ask("POST", example.path, b" " * 100_001, content_type=example.content_type)
    assert reply[0] == 413
    assert "100000" in detail(reply)


def test_requests_that_come_together_share_batches(running, example):
    for _ in range(10):
        before = running.metric("digits_batch_size_sum"), running.metric("digits_batch_size_count")
        kind = {"content_type": example.content_type}
        statuses = running.ask_at_once(example.path, [example.body] * example.num_at_once, **kind)
        assert statuses == [200] * example.num_at_once
        items = running.metric("digits_batch_size_sum") - before[0]
        if items / (running.metric("digits_batch_size_count") - before[1]) > 1.2:
            return
    pytest.fail("each request was a batch of its own")


def test_a_path_that_is_not_there_is_refused_whatever_digits_have_there(running):
    for path in ("/v1/digit", "/v1/sites/test/release", "/v1/sites/{name}/release", "/v2", "/docs"):
        assert running.ask("POST", path, b"{}")[0] == 404


def test_a_champion_of_another_hash_is_refused_at_start(example, tmp_path):
    copy = tmp_path / "champion"
    shutil.copytree(champion_of(example), copy)
    model = bytearray((copy / "model.onnx").read_bytes())
    model[-100] ^= 1
    (copy / "model.onnx").write_bytes(model)
    server = RunningExample(example.name, tmp_path / "running", champion=copy)
    try:
        assert server.process.wait(60) == 2
    finally:
        server.kill()
    assert "cannot be served: model.onnx has sha256" in server.log.read_text()


def test_on_sigterm_it_answers_until_it_is_drained_and_every_answer_is_archived(example, tmp_path):
    server = RunningExample(example.name, tmp_path / "running", drain_s=2)
    kind = {"content_type": example.content_type}
    try:
        server.wait()
        assert server.ask("POST", example.path, example.body, **kind)[0] == 200
        server.process.send_signal(signal.SIGTERM)
        while server.ask("GET", "/readyz")[0] == 200:
            time.sleep(0.05)
        status, _, headers = server.ask("POST", example.path, example.body, **kind)
        assert (status, headers["connection"]) == (200, "close")
        assert server.process.wait(30) == 0
    finally:
        server.kill()
    store = open_store(str(tmp_path / "archive"))
    assert ship_once(server.spool, store).num_records == 2 * example.num_items
    rows = read_answers(store, parse_window("yesterday", today=datetime.now(UTC).date()))
    rows = (
        rows
        if len(rows)
        else read_answers(store, parse_window("today", today=datetime.now(UTC).date()))
    )
    assert rows["answer"].notna().all()
    assert rows[f"feature_{example.feature}"].notna().all()
    assert len(rows["content"][0]) > 0


@pytest.mark.slow
def test_an_example_is_served_by_the_files_of_the_digit_services_image(tmp_path):
    """README.md of photo_tags mounts examples/ into it; here the image's files are copied."""
    lines = (ROOT / "deploy" / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    copies = [line.split()[1:] for line in lines if line.startswith("COPY ") and "--" not in line]
    for *sources, target in [*copies, ["examples", "examples"]]:
        for pattern in sources:
            for source in ROOT.glob(pattern):
                if source.is_dir():
                    shutil.copytree(source, tmp_path / target, dirs_exist_ok=True)
                else:
                    (tmp_path / target).mkdir(parents=True, exist_ok=True)
                    shutil.copy(source, tmp_path / target)
    server = RunningExample(TEXT.name, tmp_path / "running", root=tmp_path)
    try:
        server.wait()
        assert server.ask("POST", TEXT.path, TEXT.body)[0] == 200
    finally:
        server.kill()
