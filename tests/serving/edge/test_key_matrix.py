"""Every route with every kind of key, in one table."""

import json

import numpy as np
import pytest
from asgi import form, npy

from serving.edge.key_ring import SCOPES

OPEN = {
    "/livez", "/readyz", "/metrics", "/openapi.json",
    "/", "/tryit/tryit.js", "/tryit/style.css",
    "/docs", "/docs/start.js", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js",
    "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/digits/ready",
    "/v2/models/digits/versions/tiny-1/ready",
}  # fmt: skip
GUARDED = {
    "/v1/digit", "/v1/digits", "/v1/postcode", "/v1/field", "/v1/explain",
    "/v1/model",
    "/v2/models/digits", "/v2/models/digits/infer", "/schema.json", "/classify",
    "/v2/models/digits/versions/tiny-1", "/v2/models/digits/versions/tiny-1/infer",
}  # fmt: skip
ADMIN = {"/v1/sites", "/v1/sites/{name}/release"}  # tests/serving/api/test_http_sites.py
LABEL = {"/v1/labels"}  # tests/serving/api/test_http_labels.py
CREDENTIALS = {
    "none": {},
    "bad": {"authorization": "Bearer wrong"},
    "expired": {"authorization": "Bearer expired"},
    "wrong scope": {"authorization": "Bearer other scope"},
    "right": {"authorization": "Bearer right"},
    "right, as a header of its own": {"x-api-key": "right"},
}
GUARDED_STATUS = {
    "none": 401,
    "bad": 401,
    "expired": 401,
    "wrong scope": 403,
    "right": 200,
    "right, as a header of its own": 200,
}


def sound_request(path, crops):
    """(method, content type, body) that the path answers with 200."""
    kind, body = form(crops[0].png, crops[1].png)
    pixels = np.zeros((1, 28, 28)).tolist()
    tensor = {"name": "image", "shape": [1, 28, 28], "datatype": "UINT8", "data": pixels}
    path = path.replace("/versions/tiny-1", "")
    return {
        "/v1/digit": ("POST", "image/png", crops[0].png),
        "/v1/digits": ("POST", kind, body),
        "/v1/field": ("POST", "image/png", crops[0].png),
        "/v1/explain": ("POST", "image/png", crops[0].png),
        "/v1/postcode": ("POST", "application/x-npy", npy(np.zeros((2, 28, 28), np.uint8))),
        "/v2/models/digits/infer": (
            "POST",
            "application/json",
            json.dumps({"inputs": [tensor]}).encode(),
        ),
        "/classify": ("POST", "application/json", json.dumps({"images": pixels}).encode()),
    }.get(path, ("GET", "", b""))


@pytest.fixture
async def locked(serve, keys_json):
    return await serve(auth="on", api_keys_json=keys_json)


async def test_the_table_has_every_route(client):
    """A path with a model version is the one without, for the version in service."""
    named = OPEN | GUARDED | ADMIN | LABEL
    assert set(client.app.routes) == {path for path in named if "/versions/" not in path}


@pytest.mark.parametrize("credential", CREDENTIALS)
@pytest.mark.parametrize("path", sorted(OPEN | GUARDED))
async def test_a_route_admits_the_right_credentials_only(locked, crops, path, credential):
    method, kind, body = sound_request(path, crops)
    headers = {"content-type": kind, **CREDENTIALS[credential]}
    reply = await locked.call(method, path, headers, body)
    assert reply.status == (GUARDED_STATUS[credential] if path in GUARDED else 200)


@pytest.mark.parametrize("path", sorted(GUARDED))
async def test_without_keys_every_route_answers(client, crops, path):
    method, kind, body = sound_request(path, crops)
    assert (await client.call(method, path, {"content-type": kind}, body)).status == 200


async def test_no_body_is_read_for_a_caller_without_a_key(locked):
    async def receive():
        raise AssertionError("the body was read")

    headers = {"content-type": "image/png"}
    reply = await locked.call("POST", "/v1/digit", headers, receive=receive)
    assert reply.status == 401


async def test_bentoml_is_not_reached_without_a_key(locked, bento):
    await locked.post("/classify", b"{}", "application/json")
    assert bento.calls == []


async def test_an_unknown_path_is_404_with_a_key_too(locked):
    assert (await locked.get("/admin", authorization="Bearer right")).status == 404


@pytest.mark.parametrize("scope", SCOPES)
async def test_of_the_scopes_only_predict_reads_digits(serve, crops, key_entry, scope):
    text = json.dumps({"keys": [key_entry("k", scopes=[scope])]})
    client = await serve(auth="on", api_keys_json=text)
    reply = await client.post("/v1/digit", crops[0].png, x_api_key="k")
    assert reply.status == (200 if scope == "predict" else 403)
