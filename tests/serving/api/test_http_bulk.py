import asyncio

import numpy as np
import pytest
from asgi import form, npy

from serving.api.schemas import DigitsAnswer, PostcodeAnswer, ProblemAnswer

NPY = "application/x-npy"


def packed(images):
    """(N, 28, 28) uint8 of framed images."""
    return np.rint(images[:, 0] * 255).astype(np.uint8)


async def test_many_files_are_answered_in_order(client, crops):
    kind, body = form(*(crop.png for crop in crops))
    reply = await client.post("/v1/digits", body, kind)
    DigitsAnswer.model_validate(reply.json)
    digits = [one["digit"] for one in reply.json["results"]]
    assert digits == [crop.label for crop in crops]


async def test_packed_crops_are_answered_in_order(client, crops, images):
    reply = await client.post("/v1/digits", npy(packed(images)), NPY)
    DigitsAnswer.model_validate(reply.json)
    assert [one["digit"] for one in reply.json["results"]] == [crop.label for crop in crops]


async def test_one_bad_crop_is_an_error_in_its_place(client, crops):
    kind, body = form(crops[0].png, crops[1].png[:50], b"GIF89a", b"", crops[2].png)
    reply = await client.post("/v1/digits", body, kind)
    assert reply.status == 200
    DigitsAnswer.model_validate(reply.json)
    results = reply.json["results"]
    assert [one.get("digit") for one in results] == [
        crops[0].label, None, None, None, crops[2].label,
    ]  # fmt: skip
    statuses = [ProblemAnswer.model_validate(results[place]["error"]).status for place in (1, 2, 3)]
    assert statuses == [422, 415, 415]


async def test_a_blank_among_many_is_no_error(client, crops):
    paper = np.full((2, 28, 28), 255, dtype=np.uint8)
    results = (await client.post("/v1/digits", npy(paper), NPY)).json["results"]
    assert [one["rejected_because"] for one in results] == ["blank", "blank"]


async def test_top_k_applies_to_every_crop(client, crops):
    kind, body = form(crops[0].png, crops[1].png)
    results = (await client.post("/v1/digits?top_k=2", body, kind)).json["results"]
    assert [len(one["candidates"]) for one in results] == [2, 2]


async def test_256_files_are_read_and_257_are_422(client, crops):
    files = [crops[number % 200].png for number in range(257)]
    kind, body = form(*files[:256])
    assert len((await client.post("/v1/digits", body, kind)).json["results"]) == 256
    kind, body = form(*files)
    reply = await client.post("/v1/digits", body, kind)
    assert reply.status == 422
    assert "more than 256 files" in reply.json["detail"]


async def test_any_number_of_files_over_the_limit_has_one_status(client, crops):
    kind, body = form(*[crops[0].png] * 300)
    reply = await client.post("/v1/digits", body, kind)
    assert (reply.status, "more than 256 files" in reply.json["detail"]) == (422, True)
    for number in (2, 3, 9):
        kind, body = form(*[crops[0].png] * number, field="image")
        reply = await client.post("/v1/digit", body, kind)
        assert (reply.status, "more than 1 files" in reply.json["detail"]) == (422, True)


async def test_far_too_many_files_are_refused_while_parsing(client):
    kind, body = form(*[b"x"] * 2000)
    assert (await client.post("/v1/digits", body, kind)).status in (400, 422)


async def test_1024_packed_crops_are_read_and_1025_are_422(client, images):
    crops = np.resize(packed(images), (1025, 28, 28))
    reply = await client.post("/v1/digits", npy(crops[:1024]), NPY)
    assert len(reply.json["results"]) == 1024
    reply = await client.post("/v1/digits", npy(crops), NPY)
    assert reply.status == 422
    assert "1025 crops; send 1 to 1024" in reply.json["detail"]


@pytest.mark.parametrize(
    ("array", "status"),
    [
        (np.zeros((2, 28, 28), dtype=np.float32), 422),
        (np.zeros((2, 28, 28), dtype=np.int8), 422),
        (np.zeros((28, 28), dtype=np.uint8), 422),
        (np.zeros((2, 1, 28, 28), dtype=np.uint8), 422),
        (np.asfortranarray(np.zeros((2, 28, 28), dtype=np.uint8)), 422),
        (np.zeros((0, 28, 28), dtype=np.uint8), 422),
        (np.zeros((2, 3, 28), dtype=np.uint8), 422),
        (np.zeros((1, 4, 4097), dtype=np.uint8), 422),
        (np.zeros((), dtype=np.uint8), 422),
    ],
    ids=["float", "signed", "rank 2", "rank 4", "fortran", "none", "low", "wide", "scalar"],
)
async def test_an_array_of_another_kind_is_refused(client, array, status):
    assert (await client.post("/v1/digits", npy(array), NPY)).status == status


def with_header(data, text):
    """An .npy body with the given header, in the format of version 1.0."""
    return data[:8] + len(text).to_bytes(2, "little") + text + data[-2 * 784 :]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data[:40],
        lambda data: data[:8],
        lambda data: b"",
        lambda data: b"\x93NUMPY\x09\x00" + data[8:],
        lambda data: b"not an array",
        lambda data: data.replace(b"'descr'", b"'other'"),
        lambda data: data.replace(b"(2, 28, 28)", b"(2, 28, -8)"),
        lambda data: data.replace(b"(2, 28, 28)", b"__import_()"),
        lambda data: data[:8] + b"\xff\xff" + data[10:],
        lambda data: with_header(data, b"{"),
        lambda data: with_header(data, b"{'descr': (), 'fortran_order': False, 'shape': (2,)}"),
        lambda data: with_header(data, b"[" * 9_000),
        lambda data: with_header(data, b"-" * 9_000 + b"1"),
    ],
)
async def test_a_damaged_array_is_refused(client, change):
    data = npy(np.zeros((2, 28, 28), dtype=np.uint8))
    reply = await client.post("/v1/digits", change(data), NPY)
    assert reply.status in (400, 422)


async def test_an_array_of_objects_is_never_unpickled(client, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("pwned").touch, ())

    array = np.array([[[Bomb()]]], dtype=object)
    assert (await client.post("/v1/digits", npy(array), NPY)).status == 422
    assert not (tmp_path / "pwned").exists()


async def test_a_crop_reads_the_same_alone_and_among_many(client, crops):
    alone = [(await client.post("/v1/digit", crop.png)).json for crop in crops[:64]]
    kind, body = form(*(crop.png for crop in crops[:64]))
    together = (await client.post("/v1/digits", body, kind)).json["results"]
    for one, other in zip(alone, together, strict=True):
        assert other["digit"] == one["digit"]
        assert other["confidence"] == pytest.approx(one["confidence"], abs=1e-6)


async def test_concurrent_callers_get_their_own_answers_beside_bad_crops(client, crops):
    bodies = [crop.png if place % 7 else crop.png[:40] for place, crop in enumerate(crops)]
    replies = await asyncio.gather(*(client.post("/v1/digit", body) for body in bodies))
    for place, (crop, reply) in enumerate(zip(crops, replies, strict=True)):
        if place % 7:
            assert (reply.status, reply.json["digit"]) == (200, crop.label)
        else:
            assert reply.status == 422


@pytest.fixture
def code(crops):
    """Crops of 1, 0, 1, 1, 5 and the code."""
    first = {crop.label: crop for crop in reversed(crops)}
    return "10115", [first[int(digit)].png for digit in "10115"]


async def ask(client, files, query=""):
    kind, body = form(*files)
    return await client.post(f"/v1/postcode{query}", body, kind)


async def test_a_postcode_is_read(client, code):
    text, files = code
    reply = await ask(client, files)
    answer = PostcodeAnswer.model_validate(reply.json)
    assert answer.code == text
    assert answer.accepted
    assert [one.digit for one in answer.digits] == [int(digit) for digit in text]
    assert answer.candidates[0].code == text
    assert answer.confidence == answer.candidates[0].probability


async def test_a_packed_postcode_is_read(client, crops, images):
    array = packed(images)[[0, 40, 80]]
    reply = await client.post("/v1/postcode", npy(array), NPY)
    expected = "".join(str(crops[place].label) for place in (0, 40, 80))
    assert reply.json["code"] == expected


async def test_a_pattern_that_takes_too_long_is_400_with_the_remedy(client, code, monkeypatch):
    monkeypatch.setattr("serving.api.codes.MAX_MATCHING_MS", -1.0)
    reply = await ask(client, code[1], "?pattern=.*")
    assert (reply.status, "fewer repetitions" in reply.json["detail"]) == (400, True)


async def test_a_pattern_that_the_code_matches_changes_nothing(client, code):
    text, files = code
    assert (await ask(client, files, "?pattern=[1-9][0-9]{4}")).json["code"] == text


async def test_a_code_that_does_not_match_the_pattern_is_rejected(client, code):
    _, files = code
    answer = PostcodeAnswer.model_validate((await ask(client, files, "?pattern=9{5}x")).json)
    assert answer.code is None
    assert answer.rejected_because == "no_valid_code"
    assert answer.candidates == []


async def test_a_pattern_is_anchored(client, code):
    _, files = code
    assert (await ask(client, files, "?pattern=101")).json["code"] is None


@pytest.mark.parametrize(
    "pattern", ["(", "[9-1]", "a" * 65, "(?P<x>", "%ff", "(a{1000}){1000}", "\\1"]
)
async def test_a_pattern_that_cannot_be_used_is_400(client, code, pattern):
    _, files = code
    assert (await ask(client, files, f"?pattern={pattern}")).status == 400


async def test_a_list_of_valid_codes_excludes_all_others(serve, code, tmp_path):
    text, files = code
    path = tmp_path / "codes.txt"
    path.write_text("10117\n10115\n20095\n")
    client = await serve(postcodes=path)
    answer = (await ask(client, files)).json
    assert answer["code"] == text
    assert {one["code"] for one in answer["candidates"]} <= {"10115", "10117", "20095"}


async def test_a_code_with_a_blank_crop_is_rejected_as_blank(client, code):
    paper = npy(np.full((3, 28, 28), 255, dtype=np.uint8))
    reply = await client.post("/v1/postcode", paper, NPY)
    answer = PostcodeAnswer.model_validate(reply.json)
    assert answer.rejected_because == "blank"
    assert answer.code is None


@pytest.mark.parametrize(("num_crops", "status"), [(1, 422), (2, 200), (12, 200), (13, 422)])
async def test_a_code_has_2_to_12_digits(client, crops, num_crops, status):
    reply = await ask(client, [crop.png for crop in crops[:num_crops]])
    assert reply.status == status


async def test_a_bad_crop_fails_its_code_and_is_named_by_position(client, code):
    _, files = code
    reply = await ask(client, [*files[:2], files[2][:40], *files[3:]])
    assert reply.status == 422
    assert reply.json["detail"].startswith("crop 2: ")


async def test_a_clear_code_that_is_not_listed_is_rejected_and_not_corrected(serve, code, tmp_path):
    _, files = code
    path = tmp_path / "codes.txt"
    path.write_text("99999\n")
    answer = (await ask(await serve(postcodes=path), files)).json
    assert not answer["accepted"]
    assert answer["rejected_because"] == "no_valid_code"


async def test_a_form_of_megabytes_needs_no_disk(client, crops, monkeypatch):
    def no_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", no_disk)
    monkeypatch.setattr("tempfile.TemporaryFile", no_disk)
    kind, body = form(crops[0].png, bytes(3_000_000))
    reply = await client.post("/v1/digits", body, kind)
    assert reply.status == 200
    assert reply.json["results"][0]["digit"] == crops[0].label
