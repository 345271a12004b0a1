import gc
import json
import uuid

import numpy as np
import pytest
from asgi import form
from PIL import Image

from serving.api.schemas import DigitAnswer, ModelAnswer, ProblemAnswer, StatusAnswer


def png_of(pixels):
    import io

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


BLANK = png_of(np.full((30, 30), 240, dtype=np.uint8))
# A solid square fills the box: its mean ink is over the tiny champion's garbage threshold.
NO_DIGIT = png_of(np.pad(np.zeros((30, 30), dtype=np.uint8), 20, constant_values=255))


async def test_every_crop_is_read_right(client, crops):
    for crop in crops:
        reply = await client.post("/v1/digit", crop.png)
        answer = DigitAnswer.model_validate(reply.json)
        assert reply.status == 200
        assert answer.digit == crop.label, crop.name
        assert answer.accepted
        assert answer.rejected_because is None


async def test_an_answer_has_these_members_and_no_others(client, crops):
    reply = await client.post("/v1/digit", crops[0].png)
    assert set(reply.json) == {
        "request_id", "read_id", "digit", "confidence", "accepted", "candidates", "model_version",
    }  # fmt: skip
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["content-length"] == str(len(reply.body))
    assert reply.headers["x-model-version"] == reply.json["model_version"] == "tiny-1"


async def test_a_jpeg_is_read(client, crops):
    import io

    stream = io.BytesIO()
    Image.fromarray(crops[0].pixels).save(stream, "JPEG", quality=95)
    reply = await client.post("/v1/digit", stream.getvalue(), "image/jpeg")
    assert reply.json["digit"] == crops[0].label


async def test_a_png_that_is_called_a_jpeg_is_read_for_what_it_is(client, crops):
    reply = await client.post("/v1/digit", crops[0].png, "image/jpeg")
    assert reply.json["digit"] == crops[0].label


async def test_a_picture_that_only_claims_to_be_a_png_is_415(client):
    assert (await client.post("/v1/digit", b"GIF89a" + b"\0" * 40)).status == 415


async def test_a_multipart_field_named_image_is_read(client, crops):
    kind, body = form(crops[3].png, field="image")
    assert (await client.post("/v1/digit", body, kind)).json["digit"] == crops[3].label


async def test_a_blank_crop_is_answered_without_a_digit(client):
    reply = await client.post("/v1/digit", BLANK)
    answer = DigitAnswer.model_validate(reply.json)
    assert reply.status == 200
    assert answer.digit is None
    assert answer.rejected_because == "blank"
    assert not answer.accepted
    assert answer.candidates == []


async def test_what_is_no_digit_is_rejected_with_its_best_guess(client):
    answer = DigitAnswer.model_validate((await client.post("/v1/digit", NO_DIGIT)).json)
    assert answer.rejected_because == "not_a_digit"
    assert answer.digit is not None


async def test_a_digit_below_the_threshold_is_rejected(serve, crops, tiny_model, tmp_path):
    from champions import write_champion

    sure = [{"error_target": 0.001, "threshold": 1.0, "accepted_frac": 0.0}]
    folder = write_champion(tmp_path, tiny_model, crops[0], thresholds=sure, temperature=3.0)
    client = await serve(folder)
    answer = DigitAnswer.model_validate((await client.post("/v1/digit", crops[5].png)).json)
    assert answer.rejected_because == "low_confidence"
    assert answer.digit == crops[5].label


async def test_candidates_fall_in_probability_and_begin_with_the_digit(client, crops):
    answer = (await client.post("/v1/digit", crops[0].png)).json
    probabilities = [one["probability"] for one in answer["candidates"]]
    assert len(probabilities) == 5
    assert probabilities == sorted(probabilities, reverse=True)
    assert answer["candidates"][0] == {
        "digit": answer["digit"],
        "probability": answer["confidence"],
    }


@pytest.mark.parametrize("top_k", [1, 2, 5])
async def test_top_k_is_how_many_candidates_there_are(client, crops, top_k):
    reply = await client.post(f"/v1/digit?top_k={top_k}", crops[0].png)
    assert len(reply.json["candidates"]) == top_k


@pytest.mark.parametrize(
    "top_k",
    [
        "0",
        "6",
        "-1",
        "1.0",
        "",
        "many",
        "%EF%BC%95",
        "5" * 5000,
        "05",
        "0000000059",
        "0" * 8 + "5" + "0" * 4400,
        "1&top_k=1",
        "%ff",
        "²",
    ],
)
async def test_a_top_k_out_of_range_is_400(client, crops, top_k):
    reply = await client.post(f"/v1/digit?top_k={top_k}", crops[0].png)
    assert reply.status == 400
    assert len(reply.json["detail"]) < 300


async def test_an_unknown_parameter_is_ignored(client, crops):
    assert (await client.post("/v1/digit?trace=1", crops[0].png)).status == 200


async def test_many_parameters_are_400(client, crops):
    query = "&".join(f"a{number}=1" for number in range(1000))
    assert (await client.post(f"/v1/digit?{query}", crops[0].png)).status == 400


async def test_the_request_id_is_a_new_uuid7(client, crops):
    first, second = [(await client.post("/v1/digit", crops[0].png)).json for _ in range(2)]
    assert first["request_id"] != second["request_id"]
    assert uuid.UUID(first["request_id"]).version == 7
    assert first["request_id"] < second["request_id"]


@pytest.mark.parametrize("own", [{}, {"x_request_id": "scanner-7"}, {"x_request_id": "not safe"}])
async def test_each_read_has_its_own_id_in_body_and_header(client, crops, own):
    replies = [await client.post("/v1/digit", crops[0].png, **own) for _ in range(2)]
    read_ids = [reply.json["read_id"] for reply in replies]
    assert [reply.headers["x-read-id"] for reply in replies] == read_ids
    assert [uuid.UUID(one).version for one in read_ids] == [7, 7]
    assert read_ids[0] != read_ids[1]
    is_own = own == {"x_request_id": "scanner-7"}
    assert (replies[0].json["request_id"] == read_ids[0]) is not is_own


async def test_a_caller_cannot_choose_the_read_id(client, crops):
    taken = (await client.post("/v1/digit", crops[0].png)).json["read_id"]
    reply = await client.post("/v1/digit", crops[0].png, x_request_id=taken)
    assert reply.json["request_id"] == taken
    assert reply.json["read_id"] != taken


async def test_a_callers_own_request_id_is_kept(client, crops):
    reply = await client.post("/v1/digit", crops[0].png, x_request_id="sorter-7.A_1")
    assert reply.json["request_id"] == reply.headers["x-request-id"] == "sorter-7.A_1"


@pytest.mark.parametrize("unfit", ["", "a b", "a\nb", "x" * 65, "<script>", "é"])
async def test_a_request_id_that_is_not_fit_for_a_log_is_replaced(client, crops, unfit):
    reply = await client.post("/v1/digit", crops[0].png, x_request_id=unfit)
    assert uuid.UUID(reply.json["request_id"]).version == 7


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--frontier--\r\n",
        b"--frontier\r\n\r\n",
        b"--other\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--other--\r\n",
        b"no boundary at all",
        b"\x89PNG\r\n\x1a\n",
    ],
)
async def test_a_form_that_cannot_be_read_is_400(client, body):
    reply = await client.post("/v1/digit", body, "multipart/form-data; boundary=frontier")
    assert reply.status == 400


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; x=y"]
)
async def test_a_form_without_its_boundary_is_400(client, crops, kind):
    _, body = form(crops[0].png, field="image")
    assert (await client.post("/v1/digit", body, kind)).status == 400


async def test_a_form_with_another_field_is_400_and_tells_the_right_one(client, crops):
    kind, body = form(crops[0].png, field="picture")
    reply = await client.post("/v1/digit", body, kind)
    assert reply.status == 400
    assert "send the crop as 'image'" in reply.json["detail"]


async def test_a_form_with_text_in_place_of_a_file_is_400(client):
    body = (
        b'--frontier\r\nContent-Disposition: form-data; name="image"\r\n\r\n'
        b"http://169.254.169.254/\r\n--frontier--\r\n"
    )
    reply = await client.post("/v1/digit", body, "multipart/form-data; boundary=frontier")
    assert reply.status == 400
    assert "send crops as files" in reply.json["detail"]


async def test_a_form_with_two_files_for_one_crop_is_422(client, crops):
    kind, body = form(crops[0].png, crops[1].png, field="image")
    assert (await client.post("/v1/digit", body, kind)).status == 422


async def test_an_empty_file_in_a_form_is_400(client):
    kind, body = form(b"", field="image")
    assert (await client.post("/v1/digit", body, kind)).status == 400


async def test_a_crop_beyond_the_size_limit_is_422_with_size_and_limit(client):
    data = png_of(np.zeros((3, 30), dtype=np.uint8))
    reply = await client.post("/v1/digit", data)
    assert reply.status == 422
    assert "30x3 px; the shortest side allowed is 4" in reply.json["detail"]


async def test_the_model_tells_what_it_is_and_its_limits(client):
    reply = await client.get("/v1/model")
    answer = ModelAnswer.model_validate(reply.json)
    assert answer.version == "tiny-1"
    assert answer.thresholds["confidence"] == 0.9
    assert answer.thresholds["error_target"] == 0.001
    assert answer.input_limits["max_side_px"] == 4096


async def test_the_error_target_of_the_settings_chooses_the_threshold(serve):
    client = await serve(error_target=0.01)
    thresholds = (await client.get("/v1/model")).json["thresholds"]
    assert thresholds["confidence"] == 0.5
    assert thresholds["error_target"] == 0.01


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_health_is_ok(client, path):
    reply = await client.get(path)
    assert reply.status == 200
    assert StatusAnswer.model_validate(reply.json).status == "ok"


async def test_metrics_are_prometheus_text(client, crops):
    await client.post("/v1/digit", crops[0].png)
    await client.post("/v1/digit", BLANK)
    reply = await client.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    text = reply.body.decode()
    for line in (
        'digits_requests_total{endpoint="digit",site="local",status="200"} 2.0',
        'digits_decisions_total{outcome="accepted",site="local"} 1.0',
        'digits_decisions_total{outcome="blank",site="local"} 1.0',
        f'digits_digit_total{{digit="{crops[0].label}"}} 1.0',
        "digits_confidence_count 1.0",
        "digits_batch_size_count 2.0",
        'digits_model_info{sha256="',
        "digits_in_flight",
        "digits_ready",
    ):
        assert line in text


async def test_a_problem_of_the_open_inference_paths_has_the_member_its_clients_read(client):
    reply = await client.post("/v2/models/digits/infer", b"{", "application/json")
    assert reply.json["error"] == reply.json["detail"]
    ProblemAnswer.model_validate(reply.json)


async def test_bentomls_paths_are_passed_to_bentoml(client, bento):
    images = [[[0.5] * 28] * 28]
    body = json.dumps({"images": images}).encode()
    reply = await client.post("/classify?x=1", body, "application/json")
    assert reply.body == b'"from bento"'
    [(method, path, forwarded)] = bento.calls
    assert (method, path, json.loads(forwarded)) == ("POST", "/classify", {"images": images})
    metrics = (await client.get("/metrics")).body.decode()
    assert 'digits_requests_total{endpoint="bentoml",site="local",status="200"} 1.0' in metrics


async def test_bentoml_starts_and_stops_with_us(serve, bento):
    await serve()
    assert bento.is_started
    assert not bento.is_stopped


async def test_a_websocket_is_closed(client):
    sent = []

    async def send(message):
        sent.append(message)

    await client.app({"type": "websocket", "path": "/v1/digit"}, None, send)
    assert sent == []


@pytest.mark.parametrize("body", ["a good crop", "a cut crop", "no crop", "blank"])
async def test_a_request_leaves_nothing_for_the_garbage_collector(client, crops, body):
    """The traceback of a refused crop would hold its body until the next collection: 7 MB here."""
    png = crops[0].png
    data = {
        "a good crop": png,
        "a cut crop": png[:60],
        "no crop": bytes(2000),
        "blank": BLANK,
    }[body]
    await client.post("/v1/digit", data)
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            await client.post("/v1/digit", data)
        assert gc.collect() == 0
    finally:
        gc.enable()
