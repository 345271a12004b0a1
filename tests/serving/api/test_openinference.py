import json
import threading

import numpy as np
import pytest
from pydantic import ValidationError

from serving.api import tensors
from serving.api.tensor_schemas import InferAnswer, InferRequest

INFER = "/v2/models/digits/infer"
OCTETS = "application/octet-stream"


@pytest.fixture
def pixels(images):
    """Two framed crops as (2, 28, 28) uint8."""
    return np.rint(images[[0, 150], 0] * 255).astype(np.uint8)


@pytest.fixture
def labels(crops):
    return [crops[0].label, crops[150].label]


def tensor(array, datatype="UINT8", **changes):
    return {
        "name": "image",
        "shape": list(array.shape),
        "datatype": datatype,
        "data": array.ravel().tolist(),
        **changes,
    }


async def infer(client, content, **headers):
    return await client.post(INFER, json.dumps(content).encode(), "application/json", **headers)


def outputs_of(reply):
    assert reply.status == 200, reply.body
    answer = InferAnswer.model_validate(reply.json)
    return {one.name: one for one in answer.outputs}


@pytest.mark.parametrize("rank", [3, 4])
async def test_uint8_crops_are_read(client, pixels, labels, rank):
    array = pixels if rank == 3 else pixels[:, np.newaxis]
    outputs = outputs_of(await infer(client, {"inputs": [tensor(array)]}))
    assert outputs["digit"].data == labels
    assert outputs["digit"].shape == [2]
    assert outputs["accepted"].data == [True, True]
    assert outputs["probabilities"].shape == [2, 10]
    assert sum(outputs["probabilities"].data) == pytest.approx(2.0, abs=1e-5)


async def test_fp32_images_are_read_as_they_are(client, images, labels):
    array = images[[0, 150]]
    outputs = outputs_of(await infer(client, {"inputs": [tensor(array, "FP32")]}))
    assert outputs["digit"].data == labels


async def test_nested_data_are_read_like_flat(client, pixels, labels):
    content = {"inputs": [tensor(pixels, data=pixels.tolist())]}
    assert outputs_of(await infer(client, content))["digit"].data == labels


async def test_the_answer_has_the_requests_id(client, pixels):
    reply = await infer(client, {"id": "call-7", "inputs": [tensor(pixels)]})
    assert reply.json["id"] == "call-7"
    assert reply.json["model_name"] == "digits"
    assert reply.json["model_version"] == "tiny-1"


async def test_a_call_without_an_id_gets_the_requests(client, pixels):
    reply = await infer(client, {"inputs": [tensor(pixels)]})
    assert reply.json["id"] == reply.headers["x-request-id"]
    assert reply.json["parameters"] == {"read_id": reply.headers["x-read-id"]}


async def test_only_the_requested_outputs_are_answered(client, pixels):
    content = {"inputs": [tensor(pixels)], "outputs": [{"name": "confidence"}]}
    assert set(outputs_of(await infer(client, content))) == {"confidence"}


async def test_a_blank_image_is_minus_1(client):
    paper = np.full((1, 28, 28), 255, dtype=np.uint8)
    outputs = outputs_of(await infer(client, {"inputs": [tensor(paper)]}))
    assert outputs["digit"].data == [-1]
    assert outputs["accepted"].data == [False]
    assert outputs["probabilities"].data == [0.0] * 10


def binary_request(array, datatype, **changes):
    head = {
        "inputs": [
            {
                "name": "image",
                "shape": list(array.shape),
                "datatype": datatype,
                "parameters": {"binary_data_size": array.nbytes},
            }
        ],
        **changes,
    }
    text = json.dumps(head).encode()
    return text + array.tobytes(), {"inference_header_content_length": str(len(text))}


@pytest.mark.parametrize("datatype", ["UINT8", "FP32"])
async def test_binary_tensors_are_read(client, pixels, images, labels, datatype):
    array = pixels if datatype == "UINT8" else images[[0, 150]]
    body, headers = binary_request(array, datatype)
    reply = await client.post(INFER, body, OCTETS, **headers)
    assert outputs_of(reply)["digit"].data == labels


async def test_outputs_come_in_binary_where_asked_for(client, pixels, labels):
    outputs = [
        {"name": "digit", "parameters": {"binary_data": True}},
        {"name": "confidence"},
        {"name": "probabilities", "parameters": {"binary_data": True}},
    ]
    reply = await infer(client, {"inputs": [tensor(pixels)], "outputs": outputs})
    head_bytes = int(reply.headers["inference-header-content-length"])
    head, tail = json.loads(reply.body[:head_bytes]), reply.body[head_bytes:]
    assert [one["name"] for one in head["outputs"]] == ["digit", "confidence", "probabilities"]
    assert "data" in head["outputs"][1]
    assert np.frombuffer(tail[:16], "<i8").tolist() == labels
    assert np.frombuffer(tail[16:], "<f4").reshape(2, 10).argmax(axis=1).tolist() == labels


async def test_all_outputs_come_in_binary_where_asked_for(client, pixels):
    content = {"inputs": [tensor(pixels)], "parameters": {"binary_data_output": True}}
    reply = await infer(client, content)
    head = json.loads(reply.body[: int(reply.headers["inference-header-content-length"])])
    assert all("binary_data_size" in one["parameters"] for one in head["outputs"])


BLACK = np.zeros((1, 28, 28), dtype=np.uint8)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"datatype": "INT64"}, 422),
        ({"name": "IMAGE"}, 422),
        ({"name": ""}, 422),
        ({"name": "x" * 5000}, 422),
        ({"datatype": "BYTES"}, 400),
        ({"shape": [1, 28, 27]}, 422),
        ({"shape": [28, 28]}, 422),
        ({"shape": [1, 3, 28, 28]}, 422),
        ({"shape": [0, 28, 28]}, 422),
        ({"shape": [-1, 28, 28]}, 422),
        ({"shape": [1025, 28, 28]}, 422),
        ({"shape": [2, 28, 28]}, 422),
        ({"shape": "1x28x28"}, 400),
        ({"shape": [1e300, 28, 28]}, 400),
        ({"data": [0.5] * 784}, 422),
        ({"data": [256] * 784}, 422),
        ({"data": [-1] * 784}, 422),
        ({"data": ["a"] * 784}, 422),
        ({"data": [None] * 784}, 422),
        ({"data": [[0], [0, 1]]}, 422),
        ({"data": []}, 422),
        ({"data": {}}, 400),
        ({"data": [10**400] * 784}, 400),
        ({"data": None}, 400),
        ({"datatype": "FP32", "data": [1.5] * 784}, 422),
        ({"datatype": "FP32", "data": [-0.1] * 784}, 422),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_tensor_that_cannot_be_read_is_refused(client, change, status):
    reply = await infer(client, {"inputs": [tensor(BLACK, **change)]})
    assert reply.status in ((400, 422) if status == 400 else (status,)), reply.body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"inputs": []}',
        b'{"inputs": 7}',
        b'{"inputs": [{}]}',
        b'{"inputs": [{"name": "image"}]}',
        b'{"inputs": [NaN]}',
        b"[" * 100_000,
        b"\xff",
    ],
)
async def test_a_body_that_is_no_inference_request_is_refused(client, body):
    assert (await client.post(INFER, body, "application/json")).status in (400, 422)


@pytest.mark.parametrize(
    "outputs",
    [[{"name": "logits"}], [{"name": ""}], [{"name": "digit"}, {"name": "digit "}]],
)
async def test_an_unknown_output_is_422(client, outputs):
    content = {"inputs": [tensor(BLACK)], "outputs": outputs}
    assert (await infer(client, content)).status == 422


@pytest.mark.parametrize("outputs", [[{}], [None], ["digit"], [{"name": None}], [{"name": ["a"]}]])
async def test_an_output_without_a_name_is_400(client, outputs):
    content = {"inputs": [tensor(BLACK)], "outputs": outputs}
    assert (await infer(client, content)).status == 400


@pytest.mark.parametrize("shape", [[True, 28, 28], ["1", 28, 28], [1.0, 28, 28], [], [[1], 28, 28]])
async def test_a_size_that_is_no_whole_number_is_400(client, shape):
    assert (await infer(client, {"inputs": [tensor(BLACK, shape=shape)]})).status == 400


@pytest.mark.parametrize("entry", ["0", "nan", " 1_0 ", None, {}, [0], 2**70, "1\0"])
async def test_an_entry_that_is_no_number_is_422(client, entry):
    for datatype in ("UINT8", "FP32"):
        reply = await infer(client, {"inputs": [tensor(BLACK, datatype, data=[0] * 783 + [entry])]})
        assert reply.status == 422


@pytest.mark.parametrize("place", ["inputs", "outputs", "request"])
async def test_shared_memory_is_refused_and_not_ignored(client, place):
    shared = {"shared_memory_region": "r", "shared_memory_byte_size": 784}
    content = {"inputs": [tensor(BLACK)], "outputs": [{"name": "digit"}]}
    (content if place == "request" else content[place][0])["parameters"] = shared
    reply = await infer(client, content)
    assert (reply.status, "shared memory" in reply.json["error"]) == (422, True)


@pytest.mark.parametrize(
    "path", ["systemsharedmemory/status", "cudasharedmemory/region/a/register"]
)
async def test_a_path_of_shared_memory_is_404_with_the_protocols_error(client, path):
    reply = await client.get(f"/v2/{path}")
    assert (reply.status, "error" in reply.json) == (404, True)


async def test_the_parameters_of_extensions_without_effect_are_ignored(client, pixels, labels):
    parameters = {"sequence_id": 5, "sequence_start": True, "priority": 1, "timeout": 1, "x": "y"}
    content = {"inputs": [tensor(pixels)], "parameters": parameters}
    assert outputs_of(await infer(client, content))["digit"].data == labels


async def test_data_both_in_json_and_in_binary_are_400(client):
    content = {"inputs": [tensor(BLACK, parameters={"binary_data_size": 784})]}
    assert (await infer(client, content)).status == 400
    text = json.dumps({"inputs": [tensor(BLACK)]}).encode()
    headers = {"inference_header_content_length": str(len(text))}
    assert (await client.post(INFER, text + bytes(784), OCTETS, **headers)).status == 400


@pytest.mark.parametrize("size", [784.0, "784", True, None, -1, 2**70, [784], {}])
async def test_a_binary_size_that_is_no_whole_number_is_400(client, size):
    text = json.dumps(
        {"inputs": [tensor(BLACK, data=None, parameters={"binary_data_size": size})]}
    ).encode()
    headers = {"inference_header_content_length": str(len(text))}
    assert (await client.post(INFER, text + bytes(784), OCTETS, **headers)).status == 400


@pytest.mark.parametrize("flag", [1, "x", [], None])
async def test_a_flag_that_is_neither_true_nor_false_is_400(client, flag):
    content = {"inputs": [tensor(BLACK)], "parameters": {"binary_data_output": flag}}
    assert (await infer(client, content)).status == 400
    outputs = [{"name": "digit", "parameters": {"binary_data": flag}}]
    assert (await infer(client, {"inputs": [tensor(BLACK)], "outputs": outputs})).status == 400


async def test_classification_gives_the_highest_values_with_their_index(client, pixels, labels):
    outputs = [{"name": "probabilities", "parameters": {"classification": 3}}]
    answer = outputs_of(await infer(client, {"inputs": [tensor(pixels)], "outputs": outputs}))
    one = answer["probabilities"]
    assert (one.datatype, one.shape) == ("BYTES", [2, 3])
    assert [int(text.partition(":")[2]) for text in one.data[::3]] == labels
    values = [float(text.partition(":")[0]) for text in one.data[:3]]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("count", [10, 11, 10**9])
async def test_classification_gives_at_most_ten_values(client, pixels, count):
    outputs = [{"name": "probabilities", "parameters": {"classification": count}}]
    answer = outputs_of(await infer(client, {"inputs": [tensor(pixels)], "outputs": outputs}))
    assert answer["probabilities"].shape == [2, 10]


@pytest.mark.parametrize("count", [0, -1, True, 1.0, "3", [], {}])
async def test_a_classification_that_is_no_count_is_400(client, count):
    outputs = [{"name": "probabilities", "parameters": {"classification": count}}]
    assert (await infer(client, {"inputs": [tensor(BLACK)], "outputs": outputs})).status == 400


async def test_classification_of_a_bool_output_is_422(client):
    outputs = [{"name": "accepted", "parameters": {"classification": 1}}]
    assert (await infer(client, {"inputs": [tensor(BLACK)], "outputs": outputs})).status == 422


async def test_classification_in_binary_is_what_tritons_client_reads(client, pixels, labels):
    triton = pytest.importorskip("tritonclient.http")
    outputs = [
        {"name": "digit", "parameters": {"classification": 1, "binary_data": True}},
        {"name": "probabilities", "parameters": {"classification": 2, "binary_data": True}},
    ]
    reply = await infer(client, {"inputs": [tensor(pixels)], "outputs": outputs})
    result = triton.InferenceServerClient.parse_response_body(
        reply.body, header_length=int(reply.headers["inference-header-content-length"])
    )
    assert result.as_numpy("digit").tolist() == [[f"{label}:0".encode()] for label in labels]
    best = result.as_numpy("probabilities")
    assert best.shape == (2, 2)
    assert [int(text.split(b":")[1]) for text in best[:, 0]] == labels


@pytest.mark.parametrize("parameters", [7, [], "x", None])
async def test_wrong_parameters_of_an_output_do_not_crash(client, parameters):
    outputs = [{"name": "digit", "parameters": parameters}]
    reply = await infer(client, {"inputs": [tensor(BLACK)], "outputs": outputs})
    assert reply.status in (200, 400, 422)


async def test_two_inputs_are_422(client):
    reply = await infer(client, {"inputs": [tensor(BLACK), tensor(BLACK)]})
    assert reply.status == 422


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.001, -0.001])
async def test_a_binary_image_outside_of_0_to_1_is_422(client, value):
    array = np.full((1, 1, 28, 28), 0.5, dtype=np.float32)
    array[0, 0, 3, 3] = value
    body, headers = binary_request(array, "FP32")
    assert (await client.post(INFER, body, OCTETS, **headers)).status == 422


async def test_a_request_without_content_type_is_read_for_tritons_client(client, labels, pixels):
    body, headers = binary_request(pixels, "UINT8")
    reply = await client.call("POST", INFER, headers, body)
    assert outputs_of(reply)["digit"].data == labels


@pytest.mark.parametrize("length", ["-1", "x", "", "9" * 30, "1000000", "1.0"])
async def test_an_impossible_header_length_is_400(client, length):
    body, _ = binary_request(BLACK, "UINT8")
    reply = await client.post(INFER, body, OCTETS, inference_header_content_length=length)
    assert reply.status == 400


@pytest.mark.parametrize("change", [lambda body: body[:-1], lambda body: body + b"\0"])
async def test_binary_data_of_another_size_are_400(client, change):
    body, headers = binary_request(BLACK, "UINT8")
    assert (await client.post(INFER, change(body), OCTETS, **headers)).status == 400


async def test_a_wrong_binary_size_is_400(client):
    body, headers = binary_request(BLACK, "UINT8")
    body = body.replace(b": 784}", b": 783}")
    assert (await client.post(INFER, body, OCTETS, **headers)).status == 400


async def test_metadata_name_the_tensors(client):
    server = (await client.get("/v2")).json
    assert "binary_tensor_data" in server["extensions"]
    model = (await client.get("/v2/models/digits")).json
    assert [one["name"] for one in model["outputs"]] == [
        "digit", "confidence", "accepted", "probabilities",
    ]  # fmt: skip
    assert model["inputs"][0]["shape"] == [-1, 1, 28, 28]


async def test_the_model_may_be_named_with_its_version(client, pixels, labels):
    version = "/v2/models/digits/versions/tiny-1"
    assert (await client.get(f"{version}/ready")).json == {"ready": True}
    assert (await client.get(version)).json["versions"] == ["tiny-1"]
    content = json.dumps({"inputs": [tensor(pixels)]}).encode()
    reply = await client.post(f"{version}/infer", content, "application/json")
    assert outputs_of(reply)["digit"].data == labels
    other = await client.post(f"{version}0/infer", content, "application/json")
    assert (other.status, "error" in other.json) == (404, True)


async def test_health_of_the_protocol(client):
    assert (await client.get("/v2/health/live")).json == {"live": True}
    assert (await client.get("/v2/health/ready")).json == {"ready": True}
    assert (await client.get("/v2/models/digits/ready")).status == 200


async def test_an_output_requested_many_times_is_refused(client, pixels):
    wanted = [{"name": "digit"}, {"name": "digit"}]
    reply = await infer(client, {"inputs": [tensor(pixels)], "outputs": wanted})
    assert reply.status == 422
    assert "twice" in reply.json["detail"]


@pytest.mark.parametrize("field", ["outputs", "inputs", "shape"])
def test_a_list_of_a_million_mistakes_gives_one_error(pixels, field):
    content = {"inputs": [tensor(pixels)], "outputs": [{"name": "digit"}]}
    (content["inputs"][0] if field == "shape" else content)[field] = ["no"] * 1_000_000
    with pytest.raises(ValidationError) as caught:
        InferRequest.model_validate(content)
    assert caught.value.error_count() == 1


@pytest.mark.parametrize("part", ["[]", "{}", '""', "0"])
async def test_json_that_parses_far_slower_than_images_is_refused_before_it_is_parsed(
    client, monkeypatch, part
):
    monkeypatch.setattr("serving.api.tensors.orjson.loads", None)
    data = ",".join([part] * 300_000)
    body = f'{{"inputs":[{{"name":"image","data":[{data}]}}]}}'.encode()
    reply = await client.post(INFER, body, "application/json")
    assert (reply.status, "brackets and quotes" in reply.json["detail"]) == (422, True)


@pytest.mark.parametrize("path", [INFER, "/classify"])
async def test_json_over_2_mb_is_413_before_it_is_parsed(client, monkeypatch, path):
    monkeypatch.setattr("serving.api.tensors.orjson.loads", None)
    reply = await client.post(path, b" " * (tensors.MAX_JSON_BYTES + 1), "application/json")
    assert (reply.status, "in binary" in reply.json["detail"]) == (413, True)


async def test_256_images_may_come_as_nested_json(client):
    content = {"inputs": [tensor(np.zeros((256, 1, 28, 28)), "UINT8")]}
    content["inputs"][0]["data"] = np.full((256, 1, 28, 28), 255).tolist()
    outputs = outputs_of(await infer(client, {**content, "outputs": [{"name": "digit"}]}))
    assert len(outputs["digit"].data) == 256


async def test_1024_images_may_come_in_binary(client):
    body, headers = binary_request(np.full((1024, 28, 28), 255, dtype=np.uint8), "UINT8")
    outputs = outputs_of(await client.post(INFER, body, OCTETS, **headers))
    assert len(outputs["digit"].data) == 1024


async def test_a_large_request_is_parsed_on_a_thread(client, pixels, monkeypatch):
    threads = []
    parse = tensors.parse

    def noting(request):
        threads.append(threading.current_thread())
        return parse(request)

    monkeypatch.setattr(tensors, "parse", noting)
    for count in (1, 40):
        reply = await infer(client, {"inputs": [tensor(pixels[:1].repeat(count, axis=0))]})
        assert reply.status == 200
    here = threading.current_thread()
    assert [thread is here for thread in threads] == [True, False]
