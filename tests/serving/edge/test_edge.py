"""What the edge does between requests: keys, readiness, draining, the tick."""

import asyncio
import json
import os
import signal

import pytest

from serving.api.schemas import ProblemAnswer
from serving.build import build_edge
from serving.edge import edge as edge_module
from serving.edge.key_ring import KeysError


@pytest.fixture
def keys_file(tmp_path, key_entry):
    path = tmp_path / "keys.json"

    def write(*keys):
        path.write_text(json.dumps({"keys": [key_entry(key) for key in keys]}))
        return path

    return write


async def status(client, crops, key):
    return (await client.post("/v1/digit", crops[0].png, x_api_key=key)).status


async def test_a_changed_key_file_is_taken_over_without_a_restart(serve, crops, keys_file):
    client = await serve(auth="on", api_keys_file=keys_file("old"))
    assert await status(client, crops, "old") == 200
    keys_file("new")
    client.app._reload_keys()
    assert await status(client, crops, "new") == 200
    assert await status(client, crops, "old") == 401


async def test_a_key_file_that_did_not_change_leaves_what_is_remembered(serve, crops, keys_file):
    client = await serve(auth="on", api_keys_file=keys_file("old"))
    ring = client.app._guard.keys
    client.app._reload_keys()
    assert client.app._guard.keys is ring


async def test_a_key_that_was_seen_expires_when_its_entry_says_so(serve, crops, keys_file):
    client = await serve(auth="on", api_keys_file=keys_file("old"))
    assert await status(client, crops, "old") == 200
    path = keys_file("old")
    content = json.loads(path.read_text())
    content["keys"][0]["expires"] = "2020-01-01T00:00:00Z"
    path.write_text(json.dumps(content))
    client.app._reload_keys()
    assert await status(client, crops, "old") == 401


async def test_keys_that_are_given_count_on_localhost_too(serve, crops, keys_file):
    client = await serve(api_keys_file=keys_file("good"))
    assert await status(client, crops, "good") == 200
    assert await status(client, crops, "") == 401


async def test_keys_that_are_given_do_not_count_when_switched_off_on_purpose(
    serve, crops, keys_file
):
    client = await serve(auth="off", api_keys_file=keys_file("good"))
    assert await status(client, crops, "") == 200


async def test_keys_are_reloaded_by_themselves(serve, crops, keys_file, monkeypatch):
    monkeypatch.setattr(edge_module, "RELOAD_EVERY_S", 0.01)
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
    client.app._reload_keys()
    assert await status(client, crops, "old") == 200
    assert await status(client, crops, "none") == 401
    assert any("old ones stay" in entry["event"] for entry in logs)


async def test_a_key_file_that_vanishes_opens_nothing(serve, crops, keys_file):
    path = keys_file("old")
    client = await serve(auth="on", api_keys_file=path)
    path.unlink()
    client.app._reload_keys()
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


async def test_of_several_content_types_bentoml_sees_the_one_that_was_checked(client, bento):
    seen = {}

    async def noting(scope, receive, send):
        seen["headers"] = scope["headers"]
        await bento(scope, receive, send)

    client.app._bento = noting

    async def twice(scope, receive, send):
        kinds = [b"application/vnd.bentoml+pickle", b"application/json; charset=utf-8"]
        headers = [(b"content-type", kind) for kind in kinds]
        await app({**scope, "headers": headers}, receive, send)

    app, client.app = client.app, twice
    assert (await client.post("/classify", b"{}")).status == 200
    assert seen["headers"] == [(b"content-type", b"application/json")]


@pytest.mark.parametrize(
    ("said", "told"),
    [(400, 400), (503, 503), (500, 500), (418, 500)],
)
async def test_what_bentoml_refuses_is_a_problem_in_its_words(client, said, told):
    async def refuse(scope, receive, send):
        await send({"type": "http.response.start", "status": said, "headers": []})
        await send({"type": "http.response.body", "body": b'{"error":', "more_body": True})
        await send({"type": "http.response.body", "body": b'"no images"}'})

    client.app._bento = refuse
    reply = await client.post("/classify", b"{}", "application/json")
    assert (reply.status, reply.headers["content-type"]) == (told, "application/problem+json")
    assert ProblemAnswer.model_validate(reply.json).detail == 'BentoML says: {"error":"no images"}'
    assert ("retry-after" in reply.headers) is (told == 503)


async def test_json_that_parses_for_ever_does_not_reach_bentoml(client, bento):
    body = b'{"images":[' + b",".join([b"[]"] * 100_000) + b"]}"
    reply = await client.post("/classify", body, "application/json")
    assert (reply.status, "brackets and quotes" in reply.json["detail"]) == (422, True)
    assert bento.calls == []


async def test_bentomls_answers_carry_our_headers(client):
    reply = await client.get("/schema.json", x_request_id="mine")
    assert (reply.status, reply.body) == (200, b'"from bento"')
    assert reply.headers["x-request-id"] == "mine"
    assert reply.headers["x-model-version"] == "tiny-1"


async def test_draining_turns_readiness_red_and_answers_on(serve, crops):
    client = await serve()
    health = client.app._health
    health.is_draining = True
    ready = await client.get("/readyz")
    assert ready.status == 503
    assert any("draining" in reason for reason in ready.json["reasons"])
    assert (await client.get("/livez")).status == 200
    reply = await client.post("/v1/digit", crops[0].png)
    assert reply.status == 200
    assert reply.headers["connection"] == "close"


async def test_sigterm_begins_draining_and_the_server_stops_after_it(serve, monkeypatch):
    stopped = asyncio.Event()
    before = signal.signal(signal.SIGTERM, lambda number, stack: stopped.set())
    try:
        client = await serve(drain_s=0)
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(20):
            await stopped.wait()
        assert client.app._health.is_draining
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_a_tick_that_fails_does_not_end_the_ticking(serve, monkeypatch, crops, logs, gate):
    monkeypatch.setattr(edge_module, "TICK_S", 0.01)
    client = await serve(request_deadline_ms=50)
    tick = client.app._telemetry.tick
    failures = iter(range(3))

    def fail_at_first(*args):
        if next(failures, None) is not None:
            raise RuntimeError("no disk")
        tick(*args)

    monkeypatch.setattr(client.app._telemetry, "tick", fail_at_first)
    gate.clear()
    assert (await client.post("/v1/digit", crops[0].png)).status == 504
    assert (await client.post("/v1/digit", crops[0].png)).status == 504


async def test_a_service_without_keys_refuses_whoever_reaches_it_from_elsewhere(client, crops):
    """BentoML may have bound another address than our settings name."""

    async def elsewhere(scope, receive, send):
        await app({**scope, "server": ("10.0.0.5", 3000)}, receive, send)

    app, client.app = client.app, elsewhere
    reply = await client.post("/v1/digit", crops[0].png)
    assert reply.status == 401
    assert "localhost only" in reply.json["detail"]


@pytest.mark.parametrize(
    ("peer", "second", "status"),
    [
        ("127.0.0.1", "192.0.2.8", 200),  # a proxy of ours: its clients are told apart
        ("127.0.0.1", "192.0.2.7", 429),
        ("203.0.113.5", "192.0.2.8", 429),  # anybody may claim to be a proxy
    ],
)
async def test_rates_without_keys_are_counted_by_the_address_behind_our_proxy(
    serve, crops, peer, second, status
):
    client = await serve(rate_limit_rps=0.001, auth="off")
    client.peer = (peer, 40_000)
    first = await client.post("/v1/digit", crops[0].png, x_forwarded_for="192.0.2.7")
    assert first.status == 200
    reply = await client.post("/v1/digit", crops[0].png, x_forwarded_for=second)
    assert reply.status == status
