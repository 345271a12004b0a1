"""Requests that are forwarded to BentoML, and its answers."""

import json

import pytest

from serving.api.schemas import ProblemAnswer

IMAGE = [[0] * 28] * 28
SOUND = json.dumps({"images": [IMAGE]}).encode()


async def test_bentoml_gets_no_header_of_the_sender(client, bento):
    async def twice(scope, receive, send):
        kind = (b"content-type", b"application/json; charset=utf-8")
        others = [(b"accept", b"application/vnd.bentoml+pickle"), (b"batch-size", b"9")]
        await app({**scope, "headers": [kind, *others]}, receive, send)

    app, client.app = client.app, twice
    assert (await client.post("/classify", SOUND)).status == 200
    [(_, _, body)] = bento.calls
    length = (b"content-length", str(len(body)).encode())
    assert bento.headers == [(b"content-type", b"application/json"), length]


@pytest.mark.parametrize(
    "content",
    [
        {}, [], None, 7, "images", {"image": [IMAGE]}, {"images": [IMAGE], "x": 1},
        *({"images": images} for images in (
            {"a": 1}, None, 0, True, "AAAA", [], [[]], [[[]]], IMAGE, [[IMAGE]], ["a"], [None],
            [{"a": 1}], [[[0] * 27] * 28], [[[0] * 28] * 27 + [[0] * 27]], [[["0"] * 28] * 28],
            [[["x"] * 28] * 28], [[[None] * 28] * 28], [[[{}] * 28] * 28],
            [IMAGE] * 257, {"__bentoml_metadata__": {}},
        )),
    ],
    ids=lambda content: str(content)[:40],
)  # fmt: skip
async def test_json_that_is_no_images_does_not_reach_bentoml(client, bento, content):
    reply = await client.post("/classify", json.dumps(content).encode(), "application/json")
    assert (reply.status in (400, 422), bento.calls) == (True, []), reply.body


async def test_the_numbers_that_json_lacks_reach_bentoml_as_no_image(client, bento):
    body = json.dumps({"images": [[[float("nan"), float("inf"), -float("inf"), 10**70] * 7] * 28]})
    assert (await client.post("/classify", body.encode(), "application/json")).status == 200
    row = json.loads(bento.calls[0][2])["images"][0][0]
    assert not any(0 <= value <= 1 for value in row)


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
    reply = await client.post("/classify", SOUND, "application/json")
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
