"""GET /v1/reads/ID: what a scanner hears of its letter while that waits."""

import asyncio
import json
import time

import httpx
import pytest
from keyed_mail import letter, store

from capture.erasure import erase_from_archive
from capture.label_event import LabelEvent
from console.application import make_app
from console.keying import quality, read_waits
from console.keying.keyed import load_keyed
from console.keying.letter_store import writing
from console.keying.read_waits import ReadWaits
from console.keying.votes import add_votes
from serving.edge.key_ring import new_key, parse_keys
from serving.edge.request_id import new_request_id

NOW_US = time.time_ns() // 1000
HOUR_US = 3_600_000_000


@pytest.fixture(autouse=True)
def no_checks(monkeypatch):
    monkeypatch.setattr(quality, "_ALWAYS_FRAC", 0.0)
    monkeypatch.setattr(quality, "PAYS_ABOVE", 1.0)


@pytest.fixture
def keys(console):
    """Site -> its key. That of the office may not predict."""
    made = {
        site: new_key(site, [scope], None)
        for site, scope in (("leeds", "predict"), ("york", "predict"), ("office", "label"))
    }
    ring = parse_keys(json.dumps({"keys": [entry for _, entry in made.values()]}), time.time())
    object.__setattr__(console, "keys", lambda: ring)
    return {site: key for site, (key, _) in made.items()}


def ask(console, *read_ids, query="", meanwhile=None, **headers):
    """The answers to one request for each read, all at once."""

    async def call():
        app = make_app(console, [], ReadWaits(console).routes())
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            asked = [
                asyncio.create_task(client.get(f"/v1/reads/{one}{query}", headers=headers))
                for one in read_ids
            ]
            if meanwhile is not None:
                await asyncio.sleep(0.3)
                assert not any(one.done() for one in asked)
                await asyncio.to_thread(meanwhile)
            return await asyncio.gather(*asked)

    return asyncio.run(call())


def say(console, read_id, index, label, who="anna", when_us=NOW_US):
    event = LabelEvent(read_id, index, label, who, when_us, "keyed", "office")
    with writing(console) as database:
        keyed = load_keyed(database, {event.read_id})
        add_votes(database, keyed, [event], {}, NOW_US)


@pytest.mark.parametrize("header", ["authorization", "x_api_key"])
def test_a_letter_that_nobody_has_keyed_waits(console, keys, header):
    (read_id,) = store(console, letter("8?", deadline_us=NOW_US + HOUR_US))
    value = f"Bearer {keys['leeds']}" if header == "authorization" else keys["leeds"]
    (answer,) = ask(console, read_id, **{header.replace("_", "-"): value})
    assert answer.json() == {
        "read_id": read_id,
        "status": "waiting",
        "deadline_us": NOW_US + HOUR_US,
        "digits": [
            {"crop_index": 0, "digit": "8", "by": "machine"},
            {"crop_index": 1, "digit": None, "by": "person"},
        ],
    }


def test_what_a_person_keys_reaches_every_scanner_that_waits(console, keys):
    read_ids = store(console, letter("8?"), letter("?"))

    def key():
        say(console, read_ids[0], 1, "7")
        say(console, read_ids[1], 0, "1")

    headers = {"x-api-key": keys["leeds"]}
    began_s = time.monotonic()
    answers = ask(console, *read_ids, query="?wait_ms=30000", meanwhile=key, **headers)
    assert [one.json()["status"] for one in answers] == ["keyed", "keyed"]
    assert [one.json()["digits"][-1]["digit"] for one in answers] == ["7", "1"]
    assert time.monotonic() - began_s < 25


def test_a_wait_ends_with_the_time_that_was_asked_for(console, keys):
    (read_id,) = store(console, letter("?"))
    (answer,) = ask(console, read_id, query="?wait_ms=300", **{"x-api-key": keys["leeds"]})
    assert answer.json()["status"] == "waiting"


def test_a_letter_is_too_late_once_its_deadline_has_passed(console, keys):
    soon_us = time.time_ns() // 1000 + 400_000
    (read_id,) = store(console, letter("?", deadline_us=soon_us))
    (answer,) = ask(console, read_id, query="?wait_ms=30000", **{"x-api-key": keys["leeds"]})
    assert answer.json()["status"] == "too_late"


def test_a_label_after_the_deadline_is_no_answer(console, keys):
    (read_id,) = store(console, letter("?", deadline_us=NOW_US - HOUR_US))
    say(console, read_id, 0, "7")
    (answer,) = ask(console, read_id, **{"x-api-key": keys["leeds"]})
    assert answer.json()["status"] == "too_late"
    assert answer.json()["digits"][0]["digit"] is None


def test_two_who_disagree_are_no_answer_and_three_who_do_make_it_unreadable(console, keys):
    (read_id,) = store(console, letter("?"))
    found = []
    for who, label in (("anna", "7"), ("ben", "1"), ("carla", "4")):
        say(console, read_id, 0, label, who)
        (answer,) = ask(console, read_id, **{"x-api-key": keys["leeds"]})
        found.append((answer.json()["status"], answer.json()["digits"][0]["digit"]))
    assert found == [("keyed", "7"), ("waiting", None), ("keyed", "unreadable")]


def test_only_a_key_of_the_reads_own_site_sees_it(console, keys):
    (read_id,) = store(console, letter("?"))
    statuses = [
        ask(console, read_id, **headers)[0].status_code
        for headers in (
            {},
            {"x-api-key": "wrong"},
            {"x-api-key": keys["office"]},
            {"x-api-key": keys["york"]},
            {"x-api-key": keys["leeds"]},
        )
    ]
    assert statuses == [401, 401, 403, 403, 200]


def test_an_unknown_or_erased_read_is_404(console, keys):
    (read_id,) = store(console, letter("?"))
    erase_from_archive(console.archive, read_id)
    answers = ask(console, read_id, "unknown", "x" * 300, **{"x-api-key": keys["leeds"]})
    assert [one.status_code for one in answers] == [404, 404, 404]
    assert answers[0].headers["content-type"] == "application/problem+json"


def test_a_read_of_this_moment_may_still_come_to_the_queue(console, keys):
    read_id = new_request_id()

    def appear():
        store(console, letter("?", read_id=read_id))
        say(console, read_id, 0, "7")

    headers = {"x-api-key": keys["leeds"]}
    (answer,) = ask(console, read_id, query="?wait_ms=9000", meanwhile=appear, **headers)
    assert answer.json()["status"] == "keyed"


@pytest.mark.parametrize("wait_ms", ["-1", "30001", "1e3", "", "x", "999999999999"])
def test_a_wait_out_of_range_is_400_with_the_limit(console, keys, wait_ms):
    (answer,) = ask(console, "x", query=f"?wait_ms={wait_ms}", **{"x-api-key": keys["leeds"]})
    assert answer.status_code == 400
    assert "30000" in answer.json()["detail"]


def test_more_waiting_requests_than_there_is_room_for_are_refused(console, keys, monkeypatch):
    monkeypatch.setattr(read_waits, "MAX_WAITING", 2)
    read_ids = store(console, *(letter("?") for _ in range(3)))
    answers = ask(console, *read_ids, query="?wait_ms=1500", **{"x-api-key": keys["leeds"]})
    assert sorted(one.status_code for one in answers) == [200, 200, 503]
