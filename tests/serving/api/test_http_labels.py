"""Labels over HTTP: on disk before the 200, all of a request or none, each mistake named."""

import json
import shutil

import pytest

from capture import read_check, ship
from capture.labels import read_events, read_labels
from capture.read_answers import answering
from capture.store import open_store

READ_ID = "0193465c-5800-7000-8000-000000000001"
LABEL = {
    "read_id": READ_ID,
    "crop_index": 0,
    "label": 7,
    "who": "keyer-17",
    "when": "2026-11-20T08:15:30Z",
    "how": "keyed",
}


async def send(client, content, **headers):
    return await client.post("/v1/labels", json.dumps(content).encode(), "application/json",
                             **headers)  # fmt: skip


@pytest.fixture
async def capturing(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(read_check, "_TIMEOUT_S", 30.0)
    return await serve(capture_dir=tmp_path / "spool", request_deadline_ms=60_000)


def archived(tmp_path):
    """The archive, with what a kill would leave: the spool as it is now, of no process."""
    ignore = shutil.ignore_patterns("*.sock")
    shutil.copytree(tmp_path / "spool", tmp_path / "left", ignore=ignore)
    store = open_store(str(tmp_path / "store"))
    ship.ship_once(tmp_path / "left", store)
    return store


async def test_a_label_is_on_disk_before_its_answer(capturing, tmp_path):
    reply = await send(capturing, LABEL)
    assert reply.status == 200
    (row,) = read_events(archived(tmp_path)).to_dict("records")
    assert (row["read_id"], row["label"], row["who"]) == (READ_ID, "7", "keyer-17")
    assert row["source"] == "local"
    assert reply.json["results"][0]["event_id"] == row["event_id"]


async def test_1024_labels_are_stored_in_order(capturing, tmp_path):
    rows = [LABEL | {"crop_index": number} for number in range(1024)]
    reply = await send(capturing, {"labels": rows})
    assert [one["crop_index"] for one in reply.json["results"]] == list(range(1024))
    assert len(read_labels(archived(tmp_path))) == 1024


async def test_a_label_of_a_captured_crop_is_of_a_known_read(capturing, tmp_path, crops):
    read = await capturing.post("/v1/digit", crops[0].png, "image/png")
    store = open_store(str(tmp_path / "store"))
    with answering(tmp_path / "spool", store):
        reply = await send(capturing, LABEL | {"read_id": read.json["read_id"]})
    assert (reply.status, reply.json["results"][0]["read"]) == (200, "known")


async def test_a_row_that_names_no_captured_crop_is_named_and_none_is_stored(
    capturing, tmp_path, crops
):
    read = await capturing.post("/v1/digit", crops[0].png, "image/png")
    known = LABEL | {"read_id": read.json["read_id"]}
    rows = [known, LABEL, known | {"crop_index": 1}]
    with answering(tmp_path / "spool", open_store(str(tmp_path / "store"))):
        reply = await send(capturing, {"labels": rows})
    assert reply.status == 400
    assert [(one["row"], one["field"]) for one in reply.json["rows"]] == [
        (1, "read_id"),
        (2, "crop_index"),
    ]
    assert "no captured read has it" in reply.json["detail"]
    assert read_events(archived(tmp_path)).empty


async def test_a_label_that_nobody_can_check_says_so_and_is_stored(capturing, tmp_path):
    reply = await send(capturing, LABEL)
    assert (reply.status, reply.json["results"][0]["read"]) == (200, "unchecked")
    assert len(read_events(archived(tmp_path))) == 1


async def test_a_repetition_is_stored_once(capturing, tmp_path):
    first, again = await send(capturing, LABEL), await send(capturing, {"labels": [LABEL, LABEL]})
    assert first.json["results"] * 2 == again.json["results"]
    assert len(read_events(archived(tmp_path))) == 1


async def test_each_bad_row_is_named_with_value_and_remedy_and_none_is_stored(capturing, tmp_path):
    rows = [LABEL, LABEL | {"label": 12}, LABEL | {"crop_index": 1024}, "7"]
    reply = await send(capturing, {"labels": rows})
    assert reply.status == 400
    assert [(one["row"], one["field"], one["value"]) for one in reply.json["rows"]] == [
        (1, "label", "12"),
        (2, "crop_index", "1024"),
        (3, "label", "7"),
    ]
    assert "write a digit from 0 to 9, not_a_digit or unreadable" in reply.json["detail"]
    assert read_events(archived(tmp_path)).empty


@pytest.mark.parametrize(
    "read_id",
    ["scanner-7", "", READ_ID.upper(), "f193465c-5800-7000-8000-000000000001",
     "01934657-b26a-4f00-8000-000000000001"],
)  # fmt: skip
async def test_an_id_that_no_answer_had_is_refused(capturing, read_id):
    reply = await send(capturing, LABEL | {"read_id": read_id})
    assert reply.status == 400
    assert reply.json["rows"][0]["field"] == "read_id"


async def test_two_labels_of_one_person_and_moment_are_refused(capturing):
    reply = await send(capturing, {"labels": [LABEL, LABEL | {"label": 9}]})
    assert reply.status == 400
    assert "row 0 has 7 of the same person and moment" in reply.json["detail"]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"7", b"null", b'{"labels": []}', b'{"labels": 7}', b"{", b"\xff",
     b'{"labels": [' + b"{}," * 1024 + b"{}]}", b"[" * 100_000],
)  # fmt: skip
async def test_a_body_that_is_no_list_of_labels_is_400(capturing, body):
    reply = await capturing.post("/v1/labels", body, "application/json")
    assert reply.status == 400


async def test_a_label_that_is_not_on_disk_is_not_acknowledged(capturing, tmp_path):
    shutil.rmtree(tmp_path / "spool")
    (tmp_path / "spool").write_text("no folder")
    assert (await send(capturing, LABEL)).status == 503


async def test_where_nothing_is_captured_the_remedy_is_named(client):
    reply = await send(client, LABEL)
    assert reply.status == 404
    assert "DIGITS_CAPTURE_DIR" in reply.json["detail"]


@pytest.mark.parametrize(("scope", "status"), [("label", 200), ("predict", 403), ("admin", 403)])
async def test_only_the_scope_label_labels(serve, tmp_path, key_entry, scope, status):
    text = json.dumps({"keys": [key_entry("k", scopes=[scope])]})
    client = await serve(auth="on", api_keys_json=text, capture_dir=tmp_path)
    assert (await send(client, LABEL, x_api_key="k")).status == status


async def test_the_answer_and_the_problem_fit_their_published_schemas(capturing):
    import jsonschema

    spec = (await capturing.get("/openapi.json")).json
    for content, name in ((LABEL, "LabelsAnswer"), ({"labels": ["x"]}, "ProblemAnswer")):
        schema = {"$ref": f"#/components/schemas/{name}", "components": spec["components"]}
        jsonschema.validate((await send(capturing, content)).json, schema)


async def test_the_site_of_the_key_is_the_source(serve, tmp_path, key_entry):
    text = json.dumps({"keys": [key_entry("k", site="bonn-1", scopes=["label"])]})
    client = await serve(auth="on", api_keys_json=text, capture_dir=tmp_path / "spool")
    await send(client, LABEL, x_api_key="k")
    assert read_events(archived(tmp_path))["source"].tolist() == ["bonn-1"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00" * 1000,
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b"[" * 40_000,
        b'{"labels":' * 9_000,
        b"1e999",
        b'{"labels": [1e400]}',
        b'{"labels": null}',
        b'{"labels": {"0": {}}}',
        b'{"read_id": "\\ud800"}',
        json.dumps(LABEL | {"who": "\x00"}).encode(),
        json.dumps(LABEL | {"who": "a\u202eb"}).encode(),
        json.dumps(LABEL | {"label": True}).encode(),
        json.dumps(LABEL | {"label": 7.5}).encode(),
        json.dumps(LABEL | {"label": 10**30}).encode(),
        json.dumps(LABEL | {"label": [7]}).encode(),
        json.dumps(LABEL | {"crop_index": -1}).encode(),
        json.dumps(LABEL | {"crop_index": 2**63}).encode(),
        json.dumps(LABEL | {"crop_index": {}}).encode(),
        json.dumps(LABEL | {"when": "0001-01-01T00:00:00+23:59"}).encode(),
        json.dumps(LABEL | {"when": "9999-12-31T23:59:59-23:59"}).encode(),
        json.dumps(LABEL | {"when": 1e300}).encode(),
        json.dumps(LABEL | {"how": None}).encode(),
        json.dumps(LABEL | {"read_id": READ_ID.upper()}).encode(),
        json.dumps(LABEL | {"read_id": "../../" + READ_ID}).encode(),
        json.dumps({"labels": [LABEL] * 1025}).encode(),
    ],
)
async def test_a_hostile_body_is_the_sender_s_fault_and_stores_nothing(capturing, tmp_path, body):
    reply = await capturing.post("/v1/labels", body, "application/json")
    assert 400 <= reply.status < 500, reply.body
    assert read_events(archived(tmp_path)).empty


async def test_seven_as_a_table_with_gaps_sends_it_is_seven(capturing):
    reply = await send(capturing, LABEL | {"label": 7.0, "crop_index": 0.0})
    assert (reply.json["results"][0]["label"], reply.json["results"][0]["crop_index"]) == ("7", 0)
    again = await send(capturing, LABEL)
    assert reply.json["results"][0]["event_id"] == again.json["results"][0]["event_id"]
