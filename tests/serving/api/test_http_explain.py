"""/v1/explain: the answer that /v1/digit gives, what it depends on, and that it is no mail."""

import asyncio
import io

import numpy as np
import pytest
from asgi import form, given
from PIL import Image
from written_fields import write

from capture.segments import read_spool
from model.artifact import CHAMPION
from serving.api.schemas import ExplainAnswer, ProblemAnswer
from serving.reading.explainer import Explainer

BLANK = io.BytesIO()
Image.fromarray(np.full((30, 30), 240, np.uint8)).save(BLANK, "PNG")


async def explained(client, *crops):
    kind, body = form(*crops) if len(crops) > 1 else ("image/png", crops[0])
    reply = await client.post("/v1/explain", body, kind)
    assert reply.status == 200, reply.body
    ExplainAnswer.model_validate(reply.json)
    return reply.json


async def test_the_answer_is_the_one_of_the_scanners_path(client, crops):
    for crop in crops[::20]:
        (result,) = (await explained(client, crop.png))["results"]
        answer = (await client.post("/v1/digit", crop.png)).json
        for name in ("digit", "confidence", "accepted", "candidates"):
            assert result[name] == answer[name], crop.name


async def test_the_image_read_again_gives_the_same_digit(client, crops):
    (result,) = (await explained(client, crops[0].png))["results"]
    tensor = {"name": "image", "shape": [1, 28, 28], "datatype": "UINT8", "data": result["image"]}
    reply = await client.call(
        "POST",
        "/v2/models/digits/infer",
        {"content-type": "application/json"},
        str({"inputs": [tensor]}).replace("'", '"').encode(),
    )
    outputs = {one["name"]: one["data"] for one in reply.json["outputs"]}
    assert outputs["digit"] == [result["digit"]]


async def test_confidence_is_lost_only_where_there_is_ink(client, crops):
    (result,) = (await explained(client, crops[0].png))["results"]
    image, lost = np.array(result["image"]), np.array(result["lost"])
    assert lost.shape == image.shape == (28, 28)
    assert lost.max() > 0
    ink = np.pad(image > 0, 3)  # a patch of 5x5, and the step to the next one
    near_ink = np.lib.stride_tricks.sliding_window_view(ink, (7, 7)).any(axis=(2, 3))
    assert not lost[~near_ink].any()


async def test_several_crops_are_the_code_that_the_postcode_path_answers(client, crops):
    five = [crop.png for crop in crops[:100:20]]
    answer = await explained(client, *five)
    kind, body = form(*five)
    postcode = (await client.post("/v1/postcode", body, kind)).json
    assert answer["code"]["code"] == postcode["code"] == "01234"
    assert answer["code"]["confidence"] == postcode["confidence"]


async def test_one_crop_is_no_code(client, crops):
    assert (await explained(client, crops[0].png))["code"] is None


async def test_a_crop_that_cannot_be_read_leaves_the_others_answered(client, crops):
    answer = await explained(client, crops[0].png, b"no picture", crops[20].png)
    assert [one.get("digit") for one in answer["results"]] == [0, None, 1]
    assert answer["results"][1]["error"]["status"] == 415
    assert answer["code"] is None


async def test_a_crop_alone_that_cannot_be_read_is_refused(client):
    reply = await client.post("/v1/explain", b"no picture")
    assert reply.status == 415
    ProblemAnswer.model_validate(reply.json)


async def test_a_blank_crop_has_no_image_and_says_why(client):
    (result,) = (await explained(client, BLANK.getvalue()))["results"]
    assert (result["image"], result["lost"], result["framing"]) == (None, None, None)
    assert result["rejected_because"] == "blank"


async def test_an_empty_body_is_400(client):
    assert (await client.post("/v1/explain", b"")).status == 400


async def test_more_crops_than_a_code_has_digits_are_422(client, crops):
    kind, body = form(*[crops[0].png] * 13)
    reply = await client.post("/v1/explain", body, kind)
    assert (reply.status, "12 files" in reply.json["detail"]) == (422, True)


async def test_nothing_of_it_is_recorded(serve, crops, tmp_path):
    client = await serve(capture_dir=tmp_path / "spool")
    answer = await explained(client, crops[0].png, crops[20].png)
    assert "read_id" not in answer
    assert not records_in(tmp_path / "spool")
    await client.post("/v1/digit", crops[0].png)
    assert len(records_in(tmp_path / "spool")) == 1


def records_in(folder):
    return list(read_spool(folder))


async def test_no_site_is_judged_by_it(client, crops, monkeypatch):
    noted = []
    monkeypatch.setattr(
        "serving.reading.site_watch.SiteWatch.note", lambda watch, site, kept: noted.append(site)
    )
    await explained(client, crops[0].png)
    await client.post("/v1/digit", crops[0].png)
    await asyncio.sleep(0)
    assert len(noted) == 1


async def test_its_time_is_not_counted_as_a_scanners(client, crops):
    await explained(client, crops[0].png)
    text = (await client.get("/metrics")).body.decode()
    counted = [line for line in text.splitlines() if 'endpoint="explain"' in line]
    assert counted
    assert not [line for line in counted if 'traffic="scanner"' in line]
    assert 'digits_digit_total{digit="0"}' not in text


async def test_a_second_one_at_the_same_time_is_429(gate, client, crops):
    gate.clear()
    first = asyncio.create_task(client.post("/v1/explain", crops[0].png))
    await asyncio.sleep(0.05)
    second = await client.post("/v1/explain", crops[0].png)
    gate.set()
    assert (second.status, second.headers["retry-after"]) == (429, "1")
    assert (await first).status == 200
    assert (await client.post("/v1/explain", crops[0].png)).status == 200


async def test_while_scanners_need_the_model_it_is_503_with_a_time_to_wait(
    serve, crops, monkeypatch
):
    client = await serve(request_deadline_ms=500)
    monkeypatch.setattr("serving.reading.reader.Reader.is_idle", lambda reader: False)
    reply = await client.post("/v1/explain", crops[0].png)
    assert (reply.status, reply.headers["retry-after"]) == (503, "2")
    assert (await client.post("/v1/digit", crops[0].png)).status == 200


async def test_a_crop_that_arrives_meanwhile_is_read_between_two_pieces(client, crops, monkeypatch):
    order = []
    in_turn = "serving.reading.reader.Reader.in_turn"
    plain = client.app.routes["/v1/explain"].handler.__self__.explainer._reader.in_turn.__func__

    async def noted(reader, function, request, function_s, **more):
        if not order:
            order.append("scanner sent")
            task = asyncio.create_task(client.post("/v1/digit", crops[0].png))
            task.add_done_callback(lambda _: order.append("scanner answered"))
        result = await plain(reader, function, request, function_s, **more)
        order.append("piece")
        return result

    monkeypatch.setattr(in_turn, noted)
    await explained(client, crops[0].png)
    assert order.index("scanner answered") <= 3
    assert order.count("piece") > 3


async def test_what_scanners_leave_no_time_for_is_answered_without_its_explanation(
    serve, crops, monkeypatch
):
    client = await serve(request_deadline_ms=500)
    looks = iter([True, True])  # for the reading, and for one piece
    monkeypatch.setattr("serving.reading.reader.Reader.is_idle", lambda reader: next(looks, False))
    (result,) = (await explained(client, crops[0].png))["results"]
    assert (result["digit"], result["lost"]) == (0, None)
    assert result["image"]


async def test_a_client_that_disconnects_leaves_room_for_the_next(gate, client, crops):
    gate.clear()
    headers = {"content-type": "image/png"}
    receive = given(crops[0].png, then_gone=True)
    first = asyncio.create_task(client.call("POST", "/v1/explain", headers, receive=receive))
    await asyncio.wait_for(first, 10)
    gate.set()
    assert (await client.post("/v1/explain", crops[0].png)).status == 200


@pytest.mark.parametrize("value", ["0", "6", "x"])
async def test_a_bad_number_of_candidates_is_400(client, crops, value):
    assert (await client.post(f"/v1/explain?top_k={value}", crops[0].png)).status == 400


async def test_each_piece_is_charged_to_its_sender(client, crops, monkeypatch):
    charged = []
    explainer = client.app.routes["/v1/explain"].handler.__self__.explainer
    assert isinstance(explainer, Explainer)
    batcher = explainer._reader._batcher
    call = batcher.call

    async def noted(function, sender, cost_s):
        charged.append((sender, cost_s))
        return await call(function, sender, cost_s)

    monkeypatch.setattr(batcher, "call", noted)
    await explained(client, crops[0].png)
    assert {sender for sender, _ in charged} == {"127.0.0.1"}
    assert all(cost_s > 0.001 for _, cost_s in charged)


async def test_a_field_is_explained_as_the_field_path_answers_it(serve, tmp_path):
    client = await serve(champion=CHAMPION, capture_dir=tmp_path / "spool")
    field = write("28195")
    answer = (await client.post("/v1/explain?digits=5", field)).json
    ExplainAnswer.model_validate(answer)
    assert not records_in(tmp_path / "spool")
    plain = (await client.post("/v1/field?digits=5", field)).json
    for name in ("code", "confidence", "accepted", "candidates"):
        assert answer["code"][name] == plain[name]
    for one, other in zip(answer["results"], plain["digits"], strict=True):
        assert (one["box"], one["digit"]) == (other["box"], other["digit"])
        assert np.array(one["lost"]).shape == np.array(one["image"]).shape == (28, 28)
        assert one["framing"]["passed_through"] is False


async def test_a_blank_field_is_explained_without_digits(client):
    answer = (await client.post("/v1/explain?digits=5", BLANK.getvalue())).json
    ExplainAnswer.model_validate(answer)
    assert (answer["results"], answer["code"]["rejected_because"]) == ([], "blank")


async def test_several_fields_or_a_bad_number_of_digits_are_refused(client, crops):
    kind, body = form(crops[0].png, crops[1].png)
    assert (await client.post("/v1/explain?digits=5", body, kind)).status == 422
    assert (await client.post("/v1/explain?digits=99", crops[0].png)).status == 400
