"""A running service takes another champion as a whole, or keeps the one that it has."""

import asyncio
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from asgi import form
from champions import make_model, write_champion

from model.artifact import RULES, SERVED_FILES
from model.champion_files import read_files
from training.champion_switch import swap


@pytest.fixture
def other(tmp_path, tiny_model, crops):
    """A folder with another champion: it is less sure of everything."""

    def make(**changes):
        folder = tmp_path / "other"
        changes = {"version": "tiny-2", "temperature": 3.0, **changes}
        changes.setdefault("golden", {"file": "golden.png", "digit": 0, "min_confidence": 0.0})
        return write_champion(folder, tiny_model, crops[0], **changes)

    return make


async def look_twice(client):
    """What fails is told when it is found twice."""
    watch = client.app.health._champion
    await watch.look()
    await watch.look()
    return watch


async def version_of(client, crop):
    answer = await client.post("/v1/digit", crop.png)
    assert answer.status == 200
    assert answer.headers["x-model-version"] == answer.json["model_version"]
    return answer.json["model_version"]


async def test_a_promoted_folder_is_served_by_model_policy_and_version(
    serve, own_champion, other, crops
):
    client = await serve(own_champion)
    before = (await client.post("/v1/digit", crops[0].png)).json
    swap(other(), own_champion)
    await client.app.health._champion.look()
    after = (await client.post("/v1/digit", crops[0].png)).json
    assert (before["model_version"], after["model_version"]) == ("tiny-1", "tiny-2")
    assert after["confidence"] < before["confidence"]
    model = (await client.get("/v1/model")).json
    assert (model["version"], model["thresholds"]["temperature"]) == ("tiny-2", 3.0)
    assert model["champion"] == {"source": str(own_champion), "refused": None}
    text = (await client.get("/metrics")).body.decode()
    assert "digits_champion_swaps_total 1.0" in text
    assert 'version="tiny-1"} 0.0' in text
    assert 'version="tiny-2"} 1.0' in text


async def test_the_paths_with_a_version_are_those_of_the_version_in_force(
    serve, own_champion, other
):
    client = await serve(own_champion)
    path = "/v2/models/digits/versions/{}"
    assert (await client.get(path.format("tiny-1"))).json["versions"] == ["tiny-1"]
    swap(other(), own_champion)
    await client.app.health._champion.look()
    assert (await client.get(path.format("tiny-1"))).status == 404
    assert (await client.get(path.format("tiny-2"))).json["versions"] == ["tiny-2"]
    assert (await client.get("/v2")).json["version"] == "tiny-2"


@pytest.mark.parametrize("endpoint", ["digit", "digits", "postcode"])
async def test_a_request_that_has_arrived_is_answered_and_recorded_by_the_old_version(
    serve, own_champion, other, crops, gate, tmp_path, endpoint
):
    client = await serve(own_champion, capture_dir=tmp_path / "spool")
    kind, body = form(*(crop.png for crop in crops[:5]))
    alone = await client.post(f"/v1/{endpoint}", *body_of(endpoint, kind, body, crops))
    gate.clear()
    waiting = asyncio.create_task(
        client.post(f"/v1/{endpoint}", *body_of(endpoint, kind, body, crops))
    )
    await asyncio.sleep(0.05)  # the batch has begun, and waits for the model
    swap(other(), own_champion)
    looking = asyncio.create_task(client.app.health._champion.look())
    await asyncio.sleep(0.05)
    gate.set()
    await looking
    answer = await waiting
    ids = ("request_id", "read_id")
    assert without(answer.json, ids) == without(alone.json, ids)
    assert answer.headers["x-model-version"] == "tiny-1"
    assert await version_of(client, crops[0]) == "tiny-2"


def body_of(endpoint, kind, body, crops):
    return (crops[0].png,) if endpoint == "digit" else (body, kind)


def without(content, names):
    return {name: value for name, value in content.items() if name not in names}


async def test_a_batch_across_a_swap_reads_each_crop_with_its_own_model(
    serve, own_champion, other, crops, gate
):
    client = await serve(own_champion)
    gate.clear()
    busy = asyncio.create_task(client.post("/v1/digit", crops[9].png))
    await asyncio.sleep(0.05)
    old = asyncio.create_task(client.post("/v1/digit", crops[0].png))  # queued behind it
    await asyncio.sleep(0.02)
    reader, in_force = client.app.model_in_force, client.app.model_in_force()
    watch = client.app.health._champion
    gate.set()
    assert (await busy).status == 200
    swap(other(), own_champion)
    await watch.look()
    new = reader()
    assert new is not in_force
    one, two = await old, await client.post("/v1/digit", crops[0].png)
    assert (one.json["model_version"], two.json["model_version"]) == ("tiny-1", "tiny-2")
    assert one.json["confidence"] > two.json["confidence"]


def torn(folder):
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:1000])


def of_another_hash(folder):
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes() + b"\0")


def half_written(folder):
    (folder / "manifest.json").unlink()


def without_its_golden_crop(folder):
    (folder / "golden.png").unlink()


def with_a_broken_manifest(folder):
    (folder / "manifest.json").write_text('{"schema": 1')


def gone(folder):
    shutil.rmtree(folder)


DAMAGE = [
    torn,
    of_another_hash,
    half_written,
    without_its_golden_crop,
    with_a_broken_manifest,
    gone,
]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda one: one.__name__)
async def test_an_unfit_folder_keeps_the_old_champion_and_the_same_bytes_make_it_ready_again(
    serve, own_champion, crops, tmp_path, logs, damage
):
    client = await serve(own_champion)
    shutil.copytree(own_champion, tmp_path / "kept")
    damage(own_champion)
    watch = await look_twice(client)
    assert await version_of(client, crops[0]) == "tiny-1"
    ready = await client.get("/readyz")
    assert ready.status == 503
    assert "version tiny-1 stays in service" in ready.json["reasons"][0]
    assert (await client.get("/v1/model")).json["champion"]["refused"] == watch.refused
    assert "digits_champion_refused 1.0" in (await client.get("/metrics")).body.decode()
    assert [one["event"] for one in logs if one["log_level"] == "error"] == ["champion refused"]
    await watch.look()  # it is told once
    assert [one["event"] for one in logs if one["log_level"] == "error"] == ["champion refused"]
    shutil.rmtree(own_champion, ignore_errors=True)
    shutil.copytree(tmp_path / "kept", own_champion)
    await watch.look()
    assert (await client.get("/readyz")).status == 200
    assert "digits_champion_refused 0.0" in (await client.get("/metrics")).body.decode()


UNFIT = {
    "misreads its golden crop": {"golden": {"file": "golden.png", "digit": 5, "min_confidence": 0}},
    "has no threshold for the target": {
        "default_error_target": 0.01,
        "thresholds": [{"error_target": 0.01, "threshold": 0.5, "accepted_frac": 0.9}],
    },
    "has an impossible temperature": {"temperature": -1.0},
    "does not say how much it rejects": {"thresholds": [{"error_target": 0.001, "threshold": 0.5}]},
}


@pytest.mark.parametrize("changes", UNFIT.values(), ids=UNFIT)
async def test_a_whole_folder_that_is_unfit_keeps_the_old_champion(
    serve, own_champion, other, crops, changes
):
    client = await serve(own_champion, error_target=0.001)
    swap(other(**changes), own_champion)
    watch = await look_twice(client)
    assert await version_of(client, crops[0]) == "tiny-1"
    assert watch.refused is not None


async def test_a_model_that_does_not_run_keeps_the_old_champion(
    serve, own_champion, tmp_path, crops
):
    client = await serve(own_champion)
    broken = make_model(np.full((784, 10), np.nan, dtype=np.float32))
    swap(write_champion(tmp_path / "broken", broken, crops[0], version="tiny-2"), own_champion)
    watch = await look_twice(client)
    assert "not finite" in watch.refused
    assert await version_of(client, crops[0]) == "tiny-1"


async def test_the_reason_is_that_of_what_is_there_now(serve, own_champion):
    client = await serve(own_champion)
    half_written(own_champion)
    watch = await look_twice(client)
    assert "manifest.json" in watch.refused
    without_its_golden_crop(own_champion)
    (own_champion / "manifest.json").write_text("{}")
    await look_twice(client)
    assert "manifest.json of the champion cannot be read" not in watch.refused


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file_neither_blocks_nor_leaks(own_champion, make):
    (own_champion / "model.onnx").unlink()
    make(own_champion / "model.onnx")
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert not read_files(own_champion, RULES).get("model.onnx")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_a_copy_that_is_still_being_written_is_no_alarm(serve, own_champion, other, logs):
    client = await serve(own_champion)
    watch, new = client.app.health._champion, other()
    for name in SERVED_FILES:
        shutil.copy(new / name, own_champion / name)
        await watch.look()
    assert watch.refused is None
    assert client.app.model_in_force().version == "tiny-2"
    assert not [one for one in logs if one["log_level"] == "error"]


async def test_sighup_looks_at_once(serve, own_champion, other, crops, monkeypatch):
    monkeypatch.setattr("serving.reading.champion_source.FolderSource.every_s", 3600.0)
    client = await serve(own_champion)
    swap(other(), own_champion)
    os.kill(os.getpid(), signal.SIGHUP)
    async with asyncio.timeout(20):
        while await version_of(client, crops[0]) != "tiny-2":  # noqa: ASYNC110  what is waited for
            await asyncio.sleep(0.01)


async def test_the_folder_is_looked_at_again_and_again(
    serve, own_champion, other, crops, monkeypatch
):
    monkeypatch.setattr("serving.reading.champion_source.FolderSource.every_s", 0.01)
    client = await serve(own_champion)
    swap(other(), own_champion)
    async with asyncio.timeout(20):
        while await version_of(client, crops[0]) != "tiny-2":  # noqa: ASYNC110  what is waited for
            await asyncio.sleep(0.01)


async def test_sites_are_judged_by_the_champion_in_force(serve, own_champion, other, crops):
    client = await serve(own_champion)
    watch = client.app.lifecycle._watch
    await version_of(client, crops[0])
    await asyncio.sleep(0.01)
    swap(other(), own_champion)
    await client.app.health._champion.look()
    assert watch._model is client.app.model_in_force()
    assert {judge._version for judge in watch._judges.values()} == {"tiny-2"}


async def test_bentomls_own_path_answers_with_the_champion_in_force(
    serve, bento, own_champion, other
):
    """The path is forwarded; the version that its answer names must be the one in force then."""
    client = await serve(own_champion)
    zeros = json.dumps({"images": np.zeros((1, 28, 28)).tolist()}).encode()
    respond, num_calls = bento.respond, 0

    async def swap_meanwhile(scope, receive, send):
        nonlocal num_calls
        num_calls += 1
        if num_calls == 1:
            swap(other(), own_champion)
            await client.app.health._champion.look()
        await respond(scope, receive, send)

    bento.respond = swap_meanwhile
    answer = await client.post("/classify", zeros, "application/json")
    assert answer.headers["x-model-version"] == "tiny-2"
    assert num_calls == 2  # the first answer may be of either version
