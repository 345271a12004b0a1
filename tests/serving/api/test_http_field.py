"""POST /v1/field with the shipped champion: contract, errors, codes that are possible."""

import asyncio

import numpy as np
import pytest
from asgi import form
from written_fields import BLANK, NOISE, grey_of, png_of, write

from model.artifact import CHAMPION
from serving.api.schemas import FieldAnswer, ProblemAnswer

CODE = "28195"


@pytest.fixture
def field():
    return write(CODE)


@pytest.fixture
async def client(serve):
    return await serve(champion=CHAMPION, error_target=0.005)  # it accepts the fields of the tests


async def test_a_field_is_read_and_its_answer_fits_its_schema(client, field):
    reply = await client.post("/v1/field?digits=5", field)
    assert reply.status == 200
    answer = FieldAnswer.model_validate(reply.json)
    assert (answer.code, answer.accepted, answer.rejected_because) == (CODE, True, None)
    assert answer.confidence == answer.candidates[0].probability
    assert answer.candidates[0].code == CODE
    assert "".join(str(one.digit) for one in answer.digits) == CODE
    assert reply.headers["x-read-id"] == answer.read_id
    assert "detail" not in reply.json


async def test_each_box_holds_its_digits_ink_and_no_other(client, field):
    boxes = [one["box"] for one in (await client.post("/v1/field", field)).json["digits"]]
    is_ink = grey_of(field) < 130
    counts = [
        is_ink[b["y"] : b["y"] + b["height"], b["x"] : b["x"] + b["width"]].sum() for b in boxes
    ]
    assert sum(counts) == is_ink.sum()
    lefts = [box["x"] for box in boxes]
    assert lefts == sorted(lefts)
    assert min(counts) > 0


async def test_a_jpeg_and_a_form_are_read_like_a_png(client, field):
    grey = grey_of(field)
    jpeg = png_of(grey, "JPEG", quality=95)
    assert (await client.post("/v1/field", jpeg, "image/jpeg")).json["code"] == CODE
    kind, body = form(field, field="image")
    assert (await client.post("/v1/field", body, kind)).json["code"] == CODE


async def test_light_ink_on_dark_paper_is_read(client, field):
    grey = 255 - grey_of(field)
    assert (await client.post("/v1/field", png_of(grey))).json["code"] == CODE


async def test_without_a_number_of_digits_4_to_10_are_found(client):
    for code in ("4711", "28195", "281954071"):
        assert (await client.post("/v1/field", write(code))).json["code"] == code
    assert not (await client.post("/v1/field", write("281"))).json["accepted"]


async def test_a_number_of_digits_and_a_range_are_taken(client, field):
    for digits in ("5", "4-6", "2-12"):
        assert (await client.post(f"/v1/field?digits={digits}", field)).json["code"] == CODE


async def test_another_number_of_digits_is_400_with_the_limits(client, field):
    for digits in (
        "99", "1", "13", "0", "5-4", "1-5", "5-13", "", "x", "5-", "-5", "5.0", "05", "4--10",
    ):  # fmt: skip
        reply = await client.post(f"/v1/field?digits={digits}", field)
        assert reply.status == 400, digits
        ProblemAnswer.model_validate(reply.json)
        assert f"digits is {digits!r}; give a number from 2 to 12" in reply.json["detail"]


async def test_fewer_marks_than_digits_are_no_code(client):
    reply = await client.post("/v1/field?digits=12", write("71"))
    answer = FieldAnswer.model_validate(reply.json)
    assert (reply.status, answer.code, answer.accepted, answer.digits) == (200, None, False, [])
    assert answer.rejected_because == "no_code"
    assert "12 digits" in answer.detail


async def test_a_blank_field_is_rejected_as_blank_as_a_postcode_is(client):
    reply = await client.post("/v1/field", BLANK)
    answer = FieldAnswer.model_validate(reply.json)
    assert (reply.status, answer.code, answer.accepted) == (200, None, False)
    assert (answer.rejected_because, answer.digits) == ("blank", [])
    assert answer.detail


async def test_a_field_of_noise_is_rejected_and_never_a_5xx(client):
    answer = FieldAnswer.model_validate((await client.post("/v1/field", NOISE)).json)
    assert not answer.accepted


BAD = {
    "empty": (b"", "image/png", 400, "body is empty"),
    "gif": (b"GIF89a", "image/png", 415, "send a PNG or a JPEG"),
    "npy": (b"x", "application/x-npy", 415, "image/png"),
    "low": (png_of(np.full((3, 40), 9)), "image/png", 422, "shortest side allowed is 4"),
    "wide": (png_of(np.full((4, 4097), 9)), "image/png", 422, "longest side allowed is 4096"),
    "area": (png_of(np.full((2001, 2000), 9)), "image/png", 422, "area allowed is 4000000"),
    "body": (bytes(2_097_153), "image/png", 413, "at most 2097152"),
}


async def test_a_picture_that_is_none_or_too_large_says_why(client):
    for name, (body, kind, status, words) in BAD.items():
        reply = await client.post("/v1/field", body, kind)
        assert (reply.status, words in reply.json["detail"]) == (status, True), name


async def test_a_cut_file_is_422(client, field):
    reply = await client.post("/v1/field", field[: len(field) // 2])
    assert reply.status == 422


async def test_a_form_with_two_fields_is_422(client, field):
    kind, body = form(field, field, field="image")
    assert (await client.post("/v1/field", body, kind)).status == 422


async def test_a_pattern_that_cannot_be_used_is_400(client, field):
    for pattern in ("(", "a" * 65, "%ff"):
        assert (await client.post(f"/v1/field?pattern={pattern}", field)).status == 400


async def test_a_pattern_is_matched_with_the_whole_code(client, field):
    async def code(pattern):
        return (await client.post(f"/v1/field?digits=5&pattern={pattern}", field)).json

    assert (await code("2[0-9]{4}"))["accepted"]
    other = await code("9[0-9]{4}")
    assert not other["accepted"]
    assert other["rejected_because"] == "no_valid_code"
    assert other["code"] is None or other["code"].startswith("9")
    assert (await code("28"))["code"] is None


async def test_a_pattern_that_takes_too_long_is_400_with_the_remedy(client, field, monkeypatch):
    monkeypatch.setattr("serving.api.codes.MAX_MATCHING_MS", -1.0)
    reply = await client.post("/v1/field?pattern=.*", field)
    assert (reply.status, "fewer repetitions" in reply.json["detail"]) == (400, True)


@pytest.fixture
def directory(serve, tmp_path):
    async def start(text):
        (tmp_path / "codes.txt").write_text(text)
        return await serve(champion=CHAMPION, error_target=0.005, postcodes=tmp_path / "codes.txt")

    return start


async def test_a_directory_excludes_all_other_codes(directory, field):
    client = await directory("28195\n28197\n10115\n")
    answer = (await client.post("/v1/field", field)).json
    assert (answer["code"], answer["accepted"]) == (CODE, True)
    assert {one["code"] for one in answer["candidates"]} <= {"28195", "28197", "10115"}


async def test_a_clear_code_that_is_not_listed_is_rejected_and_not_corrected(directory, field):
    answer = (await (await directory("99999\n")).post("/v1/field", field)).json
    assert (answer["accepted"], answer["rejected_because"]) == (False, "no_valid_code")
    assert {one["rejected_because"] for one in answer["digits"]} == {"code_rejected"}


async def test_a_directory_says_how_many_digits_there_are(directory):
    client = await directory("281\n")
    assert (await client.post("/v1/field", write("281"))).json["code"] == "281"
    assert (await client.post("/v1/field?digits=4-10", write("281"))).json["code"] is None


async def test_a_query_parameter_given_twice_is_400(client, field):
    assert (await client.post("/v1/field?digits=5&digits=6", field)).status == 400


async def test_digits_as_a_field_of_the_form_are_400(client, field):
    kind, body = form(field, field="image")
    text = b'--frontier\r\nContent-Disposition: form-data; name="digits"\r\n\r\n5\r\n'
    reply = await client.post("/v1/field", text + body, kind)
    assert (reply.status, "give it in the query" in reply.json["detail"]) == (400, True)


async def test_fields_at_once_are_answered_as_alone(client):
    codes = ["28195", "4711", "90210", "123456"]
    replies = await asyncio.gather(*(client.post("/v1/field", write(code)) for code in codes))
    assert [one.json["code"] for one in replies] == codes


async def test_get_is_405(client):
    assert (await client.get("/v1/field")).status == 405
