"""A request that is sent again is recorded once, by its idempotency key; and it is counted."""

import hashlib
import shutil
import time
import uuid
from datetime import date

import pytest
from asgi import form

from capture.archive import Window
from capture.look_up import begun_us, may_hold
from capture.sampling import read_sample
from capture.segments import read_segment
from capture.ship import ship_once
from capture.store import open_store
from serving.edge.repetition import (
    MAX_KEY_AGE_S,
    MAX_KEY_AHEAD_S,
    attempt_kind,
    repeated_read_id,
)


def key_of(seconds_from_now=0.0):
    milliseconds = int((time.time() + seconds_from_now) * 1000)
    return str(uuid.UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | 12345))


def read_id(key, site="berlin-1", body=b"crop"):
    return repeated_read_id({b"idempotency-key": key.encode()}, site, body)


def test_the_same_request_again_has_the_same_read_id():
    key = key_of()
    assert read_id(key) == read_id(key.upper()) is not None


def test_the_read_id_is_a_version_7_uuid_of_the_keys_time():
    key = uuid.UUID(key_of())
    made = uuid.UUID(read_id(str(key)))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == key.int >> 80
    assert made != key


@pytest.mark.parametrize(
    "other", [{"site": "berlin-2"}, {"body": b"crow"}, {"body": b"crop "}, {"body": b""}]
)
def test_another_site_or_crop_under_the_same_key_is_another_read(other):
    key = key_of()
    assert read_id(key, **other) != read_id(key)


def test_a_body_that_differs_only_in_length_past_what_is_checked_is_another_read():
    key = key_of()
    assert read_id(key, body=bytes(100_000)) != read_id(key, body=bytes(100_001))


def test_a_key_of_another_clock_makes_no_read_id():
    for wrong_s in (-1 - MAX_KEY_AGE_S, 1 + MAX_KEY_AHEAD_S):
        assert read_id(key_of(wrong_s)) is None
    assert read_id(key_of(5 - MAX_KEY_AGE_S)) is not None


def test_the_record_of_the_oldest_key_is_looked_for_where_it_is():
    begun = begun_us(read_id(key_of(5 - MAX_KEY_AGE_S)))
    answered_us = begun + (MAX_KEY_AGE_S + 60) * 1_000_000  # a read takes 60 s at most
    assert may_hold(f"{answered_us}-0.seg", [begun])


@pytest.mark.parametrize(
    "key", ["", "r-1", "0197f2a4-6f0e-4c31-9a5e-3d1f1c2b4a59", "\xff" * 36, "0" * 5000]
)
def test_what_is_no_version_7_uuid_makes_no_read_id(key):
    assert repeated_read_id({b"idempotency-key": key.encode("latin-1")}, "s", b"") is None


def test_without_a_key_there_is_no_repeated_read_id():
    assert repeated_read_id({}, "s", b"") is None


async def test_a_crop_that_two_tasks_read_is_one_row_of_the_archive(serve, crops, tmp_path):
    key = key_of()
    store = open_store(str(tmp_path / "archive"))
    replies = []
    for task in ("one", "two"):
        client = await serve(capture_dir=tmp_path / task)
        replies.append(await client.post("/v1/digit", crops[0].png, idempotency_key=key))
        copy = shutil.copytree(tmp_path / task, tmp_path / f"copy-{task}")
        assert ship_once(copy, store).num_records == 1
    read_ids = {reply.json["read_id"] for reply in replies}
    assert len(store.find("records/")) == 2
    day = date.fromisoformat(store.find("records/")[0].split("/")[1].removeprefix("day="))
    rows = read_sample(store, Window(day, day), columns=[], max_rows=9, min_rows_per_site=0).rows
    assert list(rows["read_id"]) == list(read_ids)


async def test_each_crop_of_a_form_sent_again_keeps_its_place(serve, crops, tmp_path):
    client = await serve(capture_dir=tmp_path)
    key = key_of()
    kind, body = form(crops[0].png, crops[1].png)
    for _ in range(2):
        await client.post("/v1/digits", body, kind, idempotency_key=key)
    found = [one for path in tmp_path.iterdir() for one in read_segment(path)]
    assert len(found) == 4
    assert len({(one.read_id, one.index) for one in found}) == 2


async def test_retries_and_hedges_are_counted_and_nothing_else(serve, crops):
    client = await serve()
    for sent in ("retry", "hedge", "hedge", "third", ""):
        assert (await client.post("/v1/digit", crops[0].png, x_attempt=sent)).status == 200
    await client.post("/v1/digit", crops[0].png)
    lines = (await client.get("/metrics")).body.decode().splitlines()
    found = [line for line in lines if line.startswith("digits_repeated_requests_total")]
    assert sorted(found) == [
        'digits_repeated_requests_total{kind="hedge"} 2.0',
        'digits_repeated_requests_total{kind="retry"} 1.0',
    ]


def test_no_header_is_no_kind():
    assert attempt_kind({}) is None


def test_the_hash_is_long_enough_to_keep_ids_apart():
    key = key_of()
    made = {read_id(key, body=hashlib.sha256(bytes([n])).digest()) for n in range(256)}
    assert len(made) == 256
