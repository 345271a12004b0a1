"""Each status of the API, reached once by its own cause."""

import asyncio
import re

import numpy as np
import pytest
from asgi import form, given, npy

from serving.api.schemas import ProblemAnswer
from serving.problems import TITLES


async def settle():
    """Let each task run until it waits for an event."""
    for _ in range(20):
        await asyncio.sleep(0)


async def bad_request(serve, crops, gate):
    return await (await serve()).post("/v1/digit", b"")


async def no_key(serve, crops, gate, keys_json):
    client = await serve(auth="on", api_keys_json=keys_json)
    return await client.post("/v1/digit", crops[0].png)


async def wrong_scope(serve, crops, gate, keys_json):
    client = await serve(auth="on", api_keys_json=keys_json)
    return await client.post("/v1/digit", crops[0].png, x_api_key="other scope")


async def no_such_path(serve, crops, gate):
    return await (await serve()).post("/v1/letter", crops[0].png)


async def wrong_method(serve, crops, gate):
    return await (await serve()).call("DELETE", "/v1/digit")


async def body_too_slow(serve, crops, gate):
    client = await serve(body_deadline_ms=50)
    half = [{"type": "http.request", "body": crops[0].png[:9], "more_body": True}]

    async def receive():
        if half:
            return half.pop()
        return await asyncio.Event().wait()

    headers = {"content-type": "image/png"}
    return await client.call("POST", "/v1/digit", headers, receive=receive)


async def body_too_large(serve, crops, gate):
    client = await serve(max_body_bytes=2000)
    return await client.post("/v1/digit", crops[0].png + b"\0" * 2000)


async def unsupported_type(serve, crops, gate):
    return await (await serve()).post("/v1/digit", b"GIF89a", "image/gif")


async def unreadable_crop(serve, crops, gate):
    return await (await serve()).post("/v1/digit", crops[0].png[:60])


async def too_many_requests(serve, crops, gate):
    client = await serve(rate_limit_rps=0.001)
    await client.post("/v1/digit", crops[0].png)
    return await client.post("/v1/digit", crops[0].png)


async def internal(serve, crops, gate, monkeypatch):
    client = await serve()
    monkeypatch.setattr("serving.api.digits.reading_fields", None)
    return await client.post("/v1/digit", crops[0].png)


async def overloaded(serve, crops, gate):
    client = await serve(max_batch_size=1, queue_limit=2)
    gate.clear()
    held = []
    for _ in range(2):  # one in the model, then one in the queue
        held.append(asyncio.create_task(client.post("/v1/digit", crops[0].png)))
        await settle()
    reply = await client.post("/v1/digit", crops[0].png)
    gate.set()
    assert [one.status for one in await asyncio.gather(*held)] == [200, 200]
    return reply


async def deadline(serve, crops, gate):
    client = await serve(request_deadline_ms=50)
    gate.clear()
    return await client.post("/v1/digit", crops[0].png)


CASES = {
    400: (bad_request, "empty.*send a PNG or JPEG"),
    401: (no_key, "Authorization: Bearer KEY"),
    403: (wrong_scope, "labelling.*label.*needs predict"),
    404: (no_such_path, "'/v1/letter'; see /docs"),
    405: (wrong_method, "takes POST, not DELETE"),
    408: (body_too_slow, "50 ms"),
    413: (body_too_large, r"bytes.*at most 2000.*smaller"),
    415: (unsupported_type, "'image/gif'.*reads image/png, image/jpeg"),
    422: (unreadable_crop, "PNG of 60 bytes.*send the whole file"),
    429: (too_many_requests, "0.001 requests a second; wait"),
    500: (internal, "request_id"),
    503: (overloaded, "1 items are waiting, 1 of them yours; the limit is 2, and one.*send fewer"),
    504: (deadline, "50 ms; try again"),
}


def test_every_status_that_a_problem_can_have_is_reached_here():
    assert set(CASES) == set(TITLES) - {417, 431, 501, 505}  # refused before the edge


@pytest.mark.parametrize("status", CASES)
async def test_a_status_is_answered_with_its_problem(status, request, serve, crops, gate):
    cause, detail = CASES[status]
    names = cause.__code__.co_varnames[3 : cause.__code__.co_argcount]
    extra = {name: request.getfixturevalue(name) for name in names}
    reply = await cause(serve, crops, gate, **extra)
    assert reply.status == status
    problem = ProblemAnswer.model_validate(reply.json)
    assert problem.status == status
    slug, title = TITLES[status]
    assert (problem.type, problem.title) == (f"urn:digitline:problem:{slug}", title)
    assert re.search(detail, problem.detail), problem.detail
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["x-request-id"] == problem.request_id
    assert reply.headers["x-model-version"] == "tiny-1"
    assert reply.headers["content-length"] == str(len(reply.body))


@pytest.mark.parametrize("status", [429, 503, 504])
async def test_a_retryable_refusal_has_a_retry_time(status, request, serve, crops, gate):
    reply = await CASES[status][0](serve, crops, gate)
    assert int(reply.headers["retry-after"]) >= 1


@pytest.mark.parametrize("status", [401, 403, 404, 405, 408, 413])
async def test_a_refusal_before_the_body_was_read_closes_the_connection(
    status, request, serve, crops, gate, keys_json
):
    cause = CASES[status][0]
    extra = (keys_json,) if cause.__code__.co_argcount == 4 else ()
    assert (await cause(serve, crops, gate, *extra)).headers["connection"] == "close"


async def test_401_asks_for_a_bearer(serve, crops, gate, keys_json):
    assert (await no_key(serve, crops, gate, keys_json)).headers["www-authenticate"] == "Bearer"


async def test_405_tells_the_method(serve, crops, gate):
    assert (await wrong_method(serve, crops, gate)).headers["allow"] == "POST"


async def test_405_tells_head_where_it_works(client):
    reply = await client.call("POST", "/v1/model")
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")
    assert (await client.call("HEAD", "/v1/model")).status == 200


async def test_500_hides_the_cause_and_logs_it(serve, crops, gate, monkeypatch, logs):
    reply = await internal(serve, crops, gate, monkeypatch)
    assert "NoneType" not in reply.body.decode()
    (entry,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert entry["request_id"] == reply.json["request_id"]
    assert isinstance(entry["exc_info"], TypeError)


async def test_too_many_at_once_is_429_and_the_others_are_answered(serve, crops, gate):
    client = await serve(max_in_flight=4)
    gate.clear()
    held = [asyncio.create_task(client.post("/v1/digit", crops[0].png)) for _ in range(2)]
    await settle()
    reply = await client.post("/v1/digit", crops[0].png)
    assert reply.status == 429
    assert "2 of your requests" in reply.json["detail"]
    assert reply.headers["ratelimit-policy"] == '"in-flight";q=2;qu="concurrent-requests"'
    assert reply.headers["ratelimit"] == '"in-flight";r=0;t=1'
    health = await client.get("/livez")
    assert health.status == 200
    gate.set()
    assert [one.status for one in await asyncio.gather(*held)] == [200, 200]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_a_crop_takes_post_only(client, method):
    assert (await client.call(method, "/v1/digit")).status == 405


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_health_takes_get_only(client, method):
    assert (await client.call(method, "/livez")).status == 405


@pytest.mark.parametrize(
    "path",
    [
        "/v1",
        "/v1/digit/",
        "/V1/DIGIT",
        "//v1/digit",
        "/v1/../v1/digit",
        "/static",
        "/x" * 5000,
    ],
)
async def test_a_path_that_is_not_ours_is_404_and_never_reaches_bentoml(client, bento, path):
    reply = await client.call("POST", path)
    assert reply.status == 404
    assert len(reply.json["detail"]) < 200
    assert not bento.calls


async def test_a_client_that_goes_away_gets_no_answer_and_is_counted(serve, crops, gate):
    client = await serve()
    gate.clear()
    headers = {"content-type": "image/png"}
    receive = given(crops[0].png, then_gone=True)
    assert await client.call("POST", "/v1/digit", headers, receive=receive) is None
    gate.set()
    metrics = (await client.get("/metrics")).body.decode()
    assert 'digits_requests_total{endpoint="digit",site="local",status="499"} 1.0' in metrics


async def test_a_client_that_goes_away_while_sending_gets_no_answer(client):
    async def receive():
        return {"type": "http.disconnect"}

    headers = {"content-type": "image/png"}
    assert await client.call("POST", "/v1/digit", headers, receive=receive) is None


async def test_a_body_that_grows_over_the_limit_is_413_whatever_its_header_said(serve, crops):
    client = await serve(max_body_bytes=2000)
    reply = await client.post("/v1/digit", crops[0].png + b"\0" * 2000, content_length="10")
    assert reply.status == 413


async def test_a_bulk_body_has_its_own_limit(serve, crops):
    client = await serve(max_body_bytes=2000, max_bulk_body_bytes=50_000)
    kind, body = form(*(crop.png for crop in crops[:8]))
    assert 2000 < len(body) < 50_000
    assert (await client.post("/v1/digits", body, kind)).status == 200
    large = npy(np.zeros((50, 40, 40), dtype=np.uint8))
    assert (await client.post("/v1/digits", large, "application/x-npy")).status == 413


async def test_a_deadline_in_one_request_does_not_affect_the_next(serve, crops, gate):
    client = await serve(request_deadline_ms=50)
    gate.clear()
    assert (await client.post("/v1/digit", crops[0].png)).status == 504
    gate.set()
    assert (await client.post("/v1/digit", crops[0].png)).status == 200


async def test_a_status_is_counted_by_endpoint_site_and_status(serve, crops, keys_json):
    client = await serve(auth="on", api_keys_json=keys_json)
    await client.post("/v1/digit", crops[0].png, x_api_key="right")
    await client.post("/v1/digit", crops[0].png)
    await client.get("/nowhere")
    metrics = (await client.get("/metrics")).body.decode()
    for labels in (
        'endpoint="digit",site="berlin-1",status="200"',
        'endpoint="digit",site="local",status="401"',
        'endpoint="none",site="local",status="404"',
    ):
        assert f"digits_requests_total{{{labels}}} 1.0" in metrics


FORWARDING = ["x_forwarded_for", "forwarded", "via", "x_forwarded_proto", "x_real_ip"]


@pytest.mark.parametrize("header", FORWARDING)
async def test_metrics_are_404_for_a_request_that_a_proxy_forwarded(client, header):
    reply = await client.call("GET", "/metrics", {header: "192.0.2.7"})
    assert (reply.status, reply.headers["content-type"]) == (404, "application/problem+json")
    assert (await client.get("/livez", **{header: "192.0.2.7"})).status == 200
    assert (await client.get("/metrics")).status == 200
