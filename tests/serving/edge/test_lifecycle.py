"""Background work of a worker: key reload, drain, tick."""

import asyncio
import json
import os
import signal
import threading

import pytest

from serving.build import build_edge
from serving.edge import lifecycle
from serving.edge.key_ring import KeysError
from serving.telemetry import Telemetry


@pytest.fixture
def keys_file(tmp_path, key_entry):
    path = tmp_path / "keys.json"

    def write(*keys):
        path.write_text(json.dumps({"keys": [key_entry(key) for key in keys]}))
        return path

    return write


async def status(client, crops, key):
    return (await client.post("/v1/digit", crops[0].png, x_api_key=key)).status


async def test_a_changed_key_file_takes_effect_without_a_restart(serve, crops, keys_file):
    client = await serve(auth="on", api_keys_file=keys_file("old"))
    assert await status(client, crops, "old") == 200
    keys_file("new")
    client.app.lifecycle.reload_keys()
    assert await status(client, crops, "new") == 200
    assert await status(client, crops, "old") == 401


async def test_an_unchanged_key_file_keeps_the_cached_keys(serve, crops, keys_file):
    client = await serve(auth="on", api_keys_file=keys_file("old"))
    ring = client.app.guard.keys
    client.app.lifecycle.reload_keys()
    assert client.app.guard.keys is ring


async def test_a_cached_key_expires_when_its_entry_changes(serve, crops, keys_file):
    client = await serve(auth="on", api_keys_file=keys_file("old"))
    assert await status(client, crops, "old") == 200
    path = keys_file("old")
    content = json.loads(path.read_text())
    content["keys"][0]["expires"] = "2020-01-01T00:00:00Z"
    path.write_text(json.dumps(content))
    client.app.lifecycle.reload_keys()
    assert await status(client, crops, "old") == 401


async def test_keys_that_are_set_are_needed_on_localhost_too(serve, crops, keys_file):
    client = await serve(api_keys_file=keys_file("good"))
    assert await status(client, crops, "good") == 200
    assert await status(client, crops, "") == 401


async def test_auth_off_admits_requests_without_a_key(serve, crops, keys_file):
    client = await serve(auth="off", api_keys_file=keys_file("good"))
    assert await status(client, crops, "") == 200


async def test_keys_are_reloaded_periodically(serve, crops, keys_file, monkeypatch):
    monkeypatch.setattr(lifecycle, "RELOAD_EVERY_S", 0.01)
    client = await serve(auth="on", api_keys_file=keys_file("old"))
    keys_file("new")
    async with asyncio.timeout(20):
        while await status(client, crops, "new") != 200:  # noqa: ASYNC110  what is waited for
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("damage", ["{", "", '{"keys": [{}]}', b"\xff\xfe\x80"], ids=repr)
async def test_a_broken_key_file_leaves_the_old_keys_in_force(
    serve, crops, keys_file, damage, logs
):
    path = keys_file("old")
    client = await serve(auth="on", api_keys_file=path)
    path.write_bytes(damage if isinstance(damage, bytes) else damage.encode())
    client.app.lifecycle.reload_keys()
    assert await status(client, crops, "old") == 200
    assert await status(client, crops, "none") == 401
    assert any("old ones stay" in entry["event"] for entry in logs)


async def test_a_fifo_in_place_of_the_key_file_blocks_nothing(
    serve, crops, keys_file, monkeypatch, logs
):
    monkeypatch.setattr(lifecycle, "RELOAD_EVERY_S", 0.01)
    path = keys_file("old")
    client = await serve(auth="on", api_keys_file=path)
    path.unlink()
    os.mkfifo(path)
    async with asyncio.timeout(20):
        while not any("old ones stay" in entry["event"] for entry in logs):  # noqa: ASYNC110  the log
            await asyncio.sleep(0.01)
    assert await status(client, crops, "old") == 200


async def test_the_key_file_is_read_off_the_event_loop(serve, keys_file, monkeypatch):
    monkeypatch.setattr(lifecycle, "RELOAD_EVERY_S", 0.01)
    client = await serve(auth="on", api_keys_file=keys_file("old"))
    readers = []
    reload_keys = client.app.lifecycle.reload_keys
    monkeypatch.setattr(
        client.app.lifecycle,
        "reload_keys",
        lambda: (readers.append(threading.current_thread()), reload_keys()),
    )
    async with asyncio.timeout(20):
        while not readers:  # noqa: ASYNC110  the thread
            await asyncio.sleep(0.01)
    assert readers[0] is not threading.current_thread()


async def test_a_deleted_key_file_leaves_the_old_keys_in_force(serve, crops, keys_file):
    path = keys_file("old")
    client = await serve(auth="on", api_keys_file=path)
    path.unlink()
    client.app.lifecycle.reload_keys()
    assert await status(client, crops, "old") == 200
    assert await status(client, crops, "") == 401


@pytest.mark.parametrize(
    "settings", [{"host": "0.0.0.0"}, {"auth": "on"}, {"host": "0.0.0.0", "auth": "on"}], ids=str
)
def test_a_service_that_needs_keys_and_has_none_is_not_built(
    settings, monkeypatch, bento, tiny_champion
):
    for name, value in settings.items():
        monkeypatch.setenv(f"DIGITS_{name.upper()}", value)
    with pytest.raises(KeysError, match="DIGITS_API_KEYS_FILE"):
        build_edge(bento)


async def test_sigterm_begins_draining_and_the_server_stops_after_it(serve, monkeypatch):
    stopped = asyncio.Event()
    before = signal.signal(signal.SIGTERM, lambda number, stack: stopped.set())
    try:
        client = await serve(drain_s=0)
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(20):
            await stopped.wait()
        assert client.app.health.is_draining
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_the_tick_goes_on_after_an_error(serve, monkeypatch, crops, logs, gate):
    monkeypatch.setattr(lifecycle, "TICK_S", 0.01)
    client = await serve(request_deadline_ms=50)
    tick = Telemetry.tick
    failures = iter(range(3))

    def fail_at_first(*args):
        if next(failures, None) is not None:
            raise RuntimeError("no disk")
        tick(*args)

    monkeypatch.setattr(Telemetry, "tick", fail_at_first)
    gate.clear()
    assert (await client.post("/v1/digit", crops[0].png)).status == 504
    assert (await client.post("/v1/digit", crops[0].png)).status == 504
