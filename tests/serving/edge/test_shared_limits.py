"""One key that takes all it can get does not stop another key's requests."""

import asyncio
import io
import json

import numpy as np
import pytest
from asgi import form, npy
from PIL import Image

PATIENCE_S = 20


@pytest.fixture
def two_keys(key_entry):
    return json.dumps({"keys": [key_entry("evil", site="evil"), key_entry("good", site="good")]})


async def settle():
    """Let every task run until it waits for something."""
    for _ in range(20):
        await asyncio.sleep(0)


def sending(*parts):
    """A `receive` that returns parts of a body and never the rest of it."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]

    async def receive():
        if messages:
            return messages.pop(0)
        await asyncio.Event().wait()
        return None

    return receive


async def hold(client, key, num_bytes):
    """Start a bulk request whose body stays unfinished."""
    headers = {"content-type": "application/x-npy", "x_api_key": key}
    receive = sending(b"\0" * num_bytes)
    task = asyncio.create_task(client.call("POST", "/v1/digits", headers, receive=receive))
    await settle()
    return task


async def test_unfinished_bodies_of_one_key_leave_memory_for_another(serve, two_keys, crops):
    client = await serve(auth="on", api_keys_json=two_keys)
    held = [await hold(client, "evil", 8_000_000) for _ in range(16)]
    refused = [task.result().status for task in held if task.done()]
    assert refused == [503] * 8
    in_parts = sending(crops[0].png[:100], crops[0].png[100:])
    first, second = await in_parts(), await in_parts()
    messages = iter([first, {**second, "more_body": False}])

    async def receive():
        return next(messages)

    headers = {"content-type": "image/png", "x_api_key": "good"}
    assert (await client.call("POST", "/v1/digit", headers, receive=receive)).status == 200
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)
    again = await hold(client, "evil", 8_000_000)  # all memory was given back
    assert not again.done()
    again.cancel()


async def test_unfinished_bodies_of_one_key_leave_places_for_another(serve, two_keys, crops):
    client = await serve(auth="on", api_keys_json=two_keys, max_in_flight=2)
    held = [await hold(client, "evil", 10) for _ in range(10)]
    assert [task.result().status for task in held if task.done()] == [429] * 2
    assert (await client.post("/v1/digit", crops[0].png, x_api_key="good")).status == 200
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)


async def test_a_full_queue_of_one_key_leaves_places_for_another(serve, two_keys, crops, gate):
    client = await serve(auth="on", api_keys_json=two_keys, max_batch_size=1, queue_limit=8)
    gate.clear()
    tasks = []
    for _ in range(10):
        tasks.append(asyncio.create_task(client.post("/v1/digit", crops[0].png, x_api_key="evil")))
        await settle()
    assert [task.result().status for task in tasks if task.done()] == [503] * 5
    good = asyncio.create_task(client.post("/v1/digit", crops[1].png, x_api_key="good"))
    await settle()
    gate.set()
    assert (await good).json["digit"] == crops[1].label
    await asyncio.gather(*tasks)


async def test_an_answer_that_nobody_reads_counts_until_it_is_handed_over(serve, two_keys, crops):
    client = await serve(auth="on", api_keys_json=two_keys, max_in_flight=4)
    writable = asyncio.Event()
    app = client.app

    async def stalled(scope, receive, send):
        async def wait(message):
            await writable.wait()
            await send(message)

        await app(scope, receive, wait)

    client.app = stalled
    unread = [
        asyncio.create_task(client.post("/v1/digit", crops[0].png, x_api_key="evil"))
        for _ in range(2)
    ]
    async with asyncio.timeout(PATIENCE_S):
        while sum(one.is_answered for one in app._in_flight._exchanges) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    client.app = app
    assert (await client.post("/v1/digit", crops[0].png, x_api_key="evil")).status == 429
    assert (await client.post("/v1/digit", crops[0].png, x_api_key="good")).status == 200
    writable.set()
    assert [one.status for one in await asyncio.gather(*unread)] == [200, 200]
    assert (await client.post("/v1/digit", crops[0].png, x_api_key="evil")).status == 200


async def test_paths_without_a_key_take_their_addresss_share(serve, two_keys):
    client = await serve(auth="on", api_keys_json=two_keys, rate_limit_rps=0.001)
    client.peer = ("203.0.113.9", 40_000)
    assert (await client.get("/docs")).status == 200
    assert (await client.get("/openapi.json")).status == 429
    client.peer = ("203.0.113.10", 40_000)
    assert (await client.get("/docs")).status == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/v2/health/live", "/v2/health/ready"])
async def test_a_flood_does_not_fail_the_probes_of_a_load_balancer(serve, two_keys, path):
    client = await serve(auth="on", api_keys_json=two_keys, rate_limit_rps=0.001)
    assert (await client.get("/docs")).status == 200
    assert (await client.get("/docs")).status == 429
    assert [(await client.get(path)).status for _ in range(5)] == [200] * 5


def costly_png():
    stream = io.BytesIO()
    grey = np.full((1000, 1000), 65_535, np.uint16)
    grey[250:750, 480:540] = 0
    Image.fromarray(grey).save(stream, "PNG")
    return stream.getvalue()


async def test_a_crop_does_not_wait_for_another_keys_costly_files(serve, two_keys, crops):
    client = await serve(auth="on", api_keys_json=two_keys)
    kind, body = form(*[costly_png()] * 64)
    evil = asyncio.create_task(client.post("/v1/digits", body, kind, x_api_key="evil"))
    await asyncio.sleep(0.05)
    for _ in range(20):
        reply = await client.post("/v1/digit", crops[0].png, x_api_key="good")
        assert reply.json["digit"] == crops[0].label
    assert not evil.done()
    evil.cancel()
    await asyncio.gather(evil, return_exceptions=True)


async def test_big_bodies_and_answers_are_handled_in_their_senders_turn(
    serve, two_keys, crops, gate
):
    """The model's thread is busy, so nothing of them is done yet."""
    client = await serve(auth="on", api_keys_json=two_keys, request_deadline_ms=20_000)
    gate.clear()
    running = asyncio.create_task(client.post("/v1/digit", crops[0].png, x_api_key="good"))
    await settle()
    paper = np.full_like(crops[0].pixels, 255)
    packed = np.stack([crops[0].pixels, paper] * 512)
    bulk = asyncio.create_task(
        client.post("/v1/digits", npy(packed), "application/x-npy", x_api_key="evil")
    )
    await settle()
    assert client.app.routes["/v1/digits"].handler.__self__.reader.num_queued == 0
    gate.set()
    assert (await running).status == 200
    digits = [one["digit"] for one in (await bulk).json["results"]]
    assert digits == [crops[0].label, None] * 512
