"""A site that goes bad, over HTTP: held in every answer, seen and released by admins only."""

import asyncio
import json
import time

import numpy as np
import pytest
from asgi import form, npy

from capture.site_states import Change, SiteStates, released
from capture.site_states import held as held_by
from serving.reading import site_signals as signal
from serving.reading import site_watch

PAPER = np.full((40, 40), 255, np.uint8)
PATIENCE_S = 20


@pytest.fixture(autouse=True)
def quick_exchange(monkeypatch):
    monkeypatch.setattr(site_watch, "EXCHANGE_S", 0.05)
    monkeypatch.setattr(site_watch, "JUDGED_S", 0.05)


@pytest.fixture
def folder(tmp_path):
    """The shared folder, in which two sites have a history of good reads."""
    means = [0.0] * signal.NUM_SIGNALS
    means[signal.REJECTED] = 0.05
    for site in ("local", "berlin-1"):
        SiteStates(tmp_path / "sites").exchange([Change(site, "tiny-1", 5_000, means, None)])
    return tmp_path / "sites"


async def send_paper(client, num=4, **headers):
    """Sixteen blank crops a request."""
    crops = npy(np.stack([PAPER] * 16))
    for _ in range(num):
        await client.post("/v1/digits", crops, "application/x-npy", **headers)


async def until(is_so):
    for _ in range(PATIENCE_S * 50):
        if await is_so():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came so")


async def is_held(client, crop):
    return (await client.post("/v1/digit", crop.png)).json.get("rejected_because") == "site_on_hold"


@pytest.fixture
async def held(serve, folder, crops):
    """A service whose site is on hold."""
    client = await serve(site_states_dir=folder)
    assert (await client.post("/v1/digit", crops[0].png)).json["accepted"]
    await send_paper(client)
    await until(lambda: is_held(client, crops[0]))
    return client


async def test_a_held_site_gets_its_digits_but_none_is_accepted(held, crops):
    answer = (await held.post("/v1/digit", crops[0].png)).json
    assert (answer["digit"], answer["accepted"]) == (crops[0].label, False)


async def test_a_held_sites_crops_of_many_are_not_accepted(held, crops):
    kind, body = form(crops[0].png, crops[1].png)
    results = (await held.post("/v1/digits", body, kind)).json["results"]
    assert {one["rejected_because"] for one in results} == {"site_on_hold"}


@pytest.mark.parametrize("is_blank", [False, True])
async def test_a_held_sites_postcode_is_not_accepted(held, images, is_blank):
    digits = (images[:2, 0] * 255).astype(np.uint8)
    stack = np.stack([PAPER, PAPER]) if is_blank else digits
    answer = (await held.post("/v1/postcode", npy(stack), "application/x-npy")).json
    assert (answer["accepted"], answer["rejected_because"]) == (False, "site_on_hold")


async def test_a_held_sites_tensors_are_not_accepted(held, images):
    data = (images[0] * 255).astype(np.uint8).tolist()
    tensor = {"name": "image", "shape": [1, 28, 28], "datatype": "UINT8", "data": data}
    body = json.dumps({"inputs": [tensor], "outputs": [{"name": "accepted"}]}).encode()
    answer = await held.post("/v2/models/digits/infer", body, "application/json")
    assert answer.json["outputs"][0]["data"] == [False]


async def test_the_hold_is_shown_with_its_reason(held):
    (site, *_) = [s for s in (await held.get("/v1/sites")).json["sites"] if s["site"] == "local"]
    assert (site["status"], site["incident"]["reason"]) == ("hold", "dark")


async def test_the_hold_is_counted(held):
    async def are_counted():  # after the state has been shared
        metrics = (await held.get("/metrics")).body.decode()
        return {
            'digits_site_on_hold{site="local"} 1.0',
            'digits_site_trips_total{reason="dark",site="local"} 1.0',
        } <= set(metrics.splitlines())

    await until(are_counted)


async def test_the_hold_is_logged_once(held, logs):
    await send_paper(held)
    await asyncio.sleep(0.3)
    assert [one["reason"] for one in logs if one["event"] == "site on hold"] == ["dark"]


async def test_a_release_trusts_the_site_at_once(held, crops):
    reply = await held.post("/v1/sites/local/release", b"")
    assert (reply.status, reply.json["status"]) == (200, "ok")
    assert (await held.post("/v1/digit", crops[0].png)).json["accepted"]


async def test_a_hold_survives_a_restart(held, serve, folder, crops):
    again = await serve(site_states_dir=folder)
    assert await is_held(again, crops[0])


async def test_two_tasks_that_share_a_folder_share_holds_and_releases(serve, folder, crops):
    one, two = await serve(site_states_dir=folder), await serve(site_states_dir=folder)
    await send_paper(one)
    await until(lambda: is_held(two, crops[0]))
    await two.post("/v1/sites/local/release", b"")

    async def is_free():
        return not await is_held(one, crops[0])

    await until(is_free)


async def test_in_mode_alert_the_site_is_reported_and_accepted(serve, folder, crops, logs):
    client = await serve(site_states_dir=folder, site_breaker="alert")
    await send_paper(client)

    async def is_reported():
        return any(one["event"] == "site reads badly; not on hold" for one in logs)

    await until(is_reported)
    assert (await client.post("/v1/digit", crops[0].png)).json["accepted"]


async def test_in_mode_alert_a_hold_from_before_is_not_in_force(held, serve, folder, crops):
    again = await serve(site_states_dir=folder, site_breaker="alert")
    assert (await again.post("/v1/digit", crops[0].png)).json["accepted"]


async def test_a_site_without_history_is_not_held(serve, crops, logs):
    client = await serve()
    await send_paper(client)

    async def is_reported():
        return any(one["event"] == "site reads badly; not on hold" for one in logs)

    await until(is_reported)
    assert (await client.post("/v1/digit", crops[0].png)).json["accepted"]


async def test_switched_off_nothing_is_watched(held, serve, folder, crops):
    off = await serve(site_states_dir=folder, site_breaker="off")
    assert (await off.get("/v1/sites")).json == {"sites": []}
    assert (await off.post("/v1/digit", crops[0].png)).json["accepted"]


async def test_a_site_that_is_not_known_is_404(held):
    assert (await held.post("/v1/sites/nowhere/release", b"")).status == 404


@pytest.mark.parametrize(
    ("key", "status"), [("right", 403), ("other scope", 403), ("wrong", 401), ("boss", 200)]
)
@pytest.mark.parametrize("path", ["/v1/sites", "/v1/sites/berlin-1/release"])
async def test_only_admins_see_and_release_sites(serve, folder, key_entry, key, status, path):
    entries = [
        key_entry("right"),
        key_entry("other scope", site="labelling", scopes=["label"]),
        key_entry("boss", site="control", scopes=["admin"]),
    ]
    keys = json.dumps({"keys": entries})
    client = await serve(site_states_dir=folder, auth="on", api_keys_json=keys)
    method = "POST" if path.endswith("release") else "GET"
    reply = await client.call(method, path, {"authorization": f"Bearer {key}"})
    assert reply.status == status


async def test_a_bad_site_holds_no_other(serve, folder, key_entry, crops):
    entries = [key_entry("right"), key_entry("other", site="north")]
    client = await serve(
        site_states_dir=folder, auth="on", api_keys_json=json.dumps({"keys": entries})
    )
    mine, other = {"x-api-key": "right"}, {"x-api-key": "other"}
    await send_paper(client, **mine)

    async def is_mine_held():
        reply = await client.post("/v1/digit", crops[0].png, **mine)
        return reply.json.get("rejected_because") == "site_on_hold"

    await until(is_mine_held)
    assert (await client.post("/v1/digit", crops[0].png, **other)).json["accepted"]


@pytest.fixture
def hold_by_hand(folder):
    """A person puts the site on hold in the shared folder, as the console does."""

    def hold():
        incident = held_by(None, "anna", "dust on the lens", time.time_ns() // 1000)
        SiteStates(folder).exchange([Change("local", "", 0, (), incident)])

    return hold


@pytest.mark.parametrize("mode", ["hold", "alert"])
async def test_a_person_puts_a_site_on_hold_and_releases_it(
    serve, folder, crops, hold_by_hand, mode
):
    client = await serve(site_states_dir=folder, site_breaker=mode)
    assert (await client.post("/v1/digit", crops[0].png)).json["accepted"]
    hold_by_hand()
    await until(lambda: is_held(client, crops[0]))
    incident = next(s for s in SiteStates(folder).exchange([]) if s.site == "local").incident
    free = released(incident, "ben", time.time_ns() // 1000)
    SiteStates(folder).exchange([Change("local", "", 0, (), free)])

    async def is_free():
        return not await is_held(client, crops[0])

    await until(is_free)


async def test_a_persons_hold_is_shown_with_its_name(serve, folder, crops, hold_by_hand):
    client = await serve(site_states_dir=folder)
    hold_by_hand()
    await until(lambda: is_held(client, crops[0]))
    (site,) = [s for s in (await client.get("/v1/sites")).json["sites"] if s["site"] == "local"]
    assert (site["incident"]["held_by"], site["incident"]["reason"]) == ("anna", "dust on the lens")
