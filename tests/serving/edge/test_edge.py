"""The edge: drain, requests from other machines, rates behind a proxy."""

import pytest


async def test_while_draining_readiness_is_red_and_requests_are_answered(serve, crops):
    client = await serve()
    client.app.health.is_draining = True
    ready = await client.get("/readyz")
    assert ready.status == 503
    assert any("draining" in reason for reason in ready.json["reasons"])
    assert (await client.get("/livez")).status == 200
    reply = await client.post("/v1/digit", crops[0].png)
    assert reply.status == 200
    assert reply.headers["connection"] == "close"


async def test_without_keys_a_request_to_another_address_than_loopback_is_refused(client, crops):
    """BentoML may have bound another address than our settings name."""

    async def elsewhere(scope, receive, send):
        await app({**scope, "server": ("10.0.0.5", 3000)}, receive, send)

    app, client.app = client.app, elsewhere
    reply = await client.post("/v1/digit", crops[0].png)
    assert reply.status == 401
    assert "came in on 10.0.0.5" in reply.json["detail"]


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
