"""Requests that are forwarded to BentoML, and its answers."""

import pytest

from serving.api.schemas import ProblemAnswer


async def test_bentoml_gets_only_the_content_type_that_was_checked(client, bento):
    async def twice(scope, receive, send):
        kinds = [b"application/vnd.bentoml+pickle", b"application/json; charset=utf-8"]
        headers = [(b"content-type", kind) for kind in kinds]
        await app({**scope, "headers": headers}, receive, send)

    app, client.app = client.app, twice
    assert (await client.post("/classify", b"{}")).status == 200
    assert bento.headers == [(b"content-type", b"application/json")]


@pytest.mark.parametrize(
    ("said", "told"),
    [(400, 400), (503, 503), (500, 500), (418, 500)],
)
async def test_a_refusal_by_bentoml_becomes_a_problem_with_its_text(client, bento, said, told):
    async def refuse(scope, receive, send):
        await send({"type": "http.response.start", "status": said, "headers": []})
        await send({"type": "http.response.body", "body": b'{"error":', "more_body": True})
        await send({"type": "http.response.body", "body": b'"no images"}'})

    bento.respond = refuse
    reply = await client.post("/classify", b"{}", "application/json")
    assert (reply.status, reply.headers["content-type"]) == (told, "application/problem+json")
    assert ProblemAnswer.model_validate(reply.json).detail == (
        'BentoML refused the call: {"error":"no images"}'
    )
    assert ("retry-after" in reply.headers) is (told == 503)


async def test_json_that_is_slow_to_parse_does_not_reach_bentoml(client, bento):
    body = b'{"images":[' + b",".join([b"[]"] * 100_000) + b"]}"
    reply = await client.post("/classify", body, "application/json")
    assert (reply.status, "brackets and quotes" in reply.json["detail"]) == (422, True)
    assert bento.calls == []


async def test_bentomls_answers_carry_our_headers(client):
    reply = await client.get("/schema.json", x_request_id="mine")
    assert (reply.status, reply.body) == (200, b'"from bento"')
    assert reply.headers["x-request-id"] == "mine"
    assert reply.headers["x-model-version"] == "tiny-1"
