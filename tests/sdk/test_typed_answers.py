"""Each call of the API: what is sent, and the typed answer."""

import json

import httpx
import pytest
from virtual_time import PNG, FakeService, client_of, outcome, run

from digitline import Box, KeyRefused, RequestRefused

DIGIT = {"digit": 1, "confidence": 0.99, "accepted": True,
         "candidates": [{"digit": 1, "probability": 0.99}]}  # fmt: skip
REJECTED = {"digit": None, "confidence": 0.0, "accepted": False, "rejected_because": "blank",
            "candidates": []}  # fmt: skip
CODE = {
    "request_id": "r", "read_id": "i", "code": "10", "confidence": 0.98, "accepted": True,
    "candidates": [{"code": "10", "probability": 0.98}], "digits": [DIGIT, REJECTED],
    "model_version": "5",
}  # fmt: skip
BOX = {"x": 4, "y": 8, "width": 15, "height": 16}
PROBLEM = {"status": 400, "type": "urn:digitline:problem:malformed-request", "title": "t",
           "detail": "1 row has a mistake", "request_id": "r",
           "rows": [{"row": 0, "field": "label", "value": "12", "detail": "0 to 9"}]}  # fmt: skip


def call(service, use):
    async def main():
        async with client_of(service) as client:
            return (await outcome(use(client)))[1]

    return run(main())


class Answering(FakeService):
    """Gives the same body to each request, with its own request id."""

    def __init__(self, body):
        super().__init__(usual=(0.001, None))
        self.body = body

    async def handle_async_request(self, request):
        await super().handle_async_request(request)
        echo = {"request_id": request.headers["x-request-id"]}
        return httpx.Response(self.body.get("status", 200), json=self.body | echo)


def test_a_postcode_is_sent_as_files_with_its_pattern():
    service = Answering(CODE)
    jpeg = b"\xff\xd8 a crop"
    code = call(service, lambda client: client.read_postcode([PNG, jpeg], pattern="[1-9][0-9]"))
    assert (code.code, code.read_id, len(code.digits)) == ("10", "i", 2)
    assert code.candidates[0].probability == 0.98
    assert (code.digits[1].digit, code.digits[1].rejected_because) == (None, "blank")
    (request,) = service.requests
    assert request.url.path == "/v1/postcode"
    assert request.url.params["pattern"] == "[1-9][0-9]"
    sent = request.content
    assert sent.index(PNG) < sent.index(jpeg)
    assert (sent.count(b"image/png"), sent.count(b"image/jpeg")) == (1, 1)


@pytest.mark.parametrize(
    ("digits", "sent"), [(5, {"digits": "5"}), ((4, 10), {"digits": "4-10"}), (None, {})]
)
def test_a_field_is_sent_with_the_number_of_its_digits(digits, sent):
    field = CODE | {"digits": [DIGIT | {"box": BOX}]}
    service = Answering(field)
    reading = call(service, lambda client: client.read_field(PNG, digits=digits))
    assert reading.digits[0].box == Box(left_px=4, top_px=8, width_px=15, height_px=16)
    assert reading.detail is None
    (request,) = service.requests
    assert (request.url.path, dict(request.url.params)) == ("/v1/field", sent)
    assert request.content == PNG


def test_a_field_without_digits_says_why():
    field = CODE | {"code": None, "accepted": False, "rejected_because": "no_code", "digits": [],
                    "candidates": [], "detail": "the ink cannot be divided"}  # fmt: skip
    reading = call(Answering(field), lambda client: client.read_field(PNG))
    assert (reading.code, reading.rejected_because) == (None, "no_code")
    assert reading.detail == "the ink cannot be divided"


def test_a_label_is_sent_with_the_time_of_its_first_try():
    service = FakeService((0.3, httpx.ReadError("reset")))
    service.usual = (0.001, httpx.Response(200, json={"results": [
        {"event_id": "e", "read_id": "i", "crop_index": 2, "label": "7", "read": "known"},
    ]}))  # fmt: skip
    stored = call(service, lambda client: client.label("i", 2, 7, who="keyer-17", how="audit"))
    assert (stored.event_id, stored.label, stored.read) == ("e", "7", "known")
    first, again = (json.loads(request.content) for request in service.requests)
    assert first == again
    when = first.pop("when")
    assert when.endswith("+00:00")
    assert first == {"read_id": "i", "crop_index": 2, "label": 7, "who": "keyer-17",
                     "how": "audit"}  # fmt: skip


def test_a_bad_label_says_which_row_and_why():
    error = call(Answering(PROBLEM), lambda client: client.label("i", 0, 9, who="k"))
    assert isinstance(error, RequestRefused)
    assert error.problem.rows[0]["detail"] == "0 to 9"


def test_a_key_without_the_scope_is_refused():
    problem = PROBLEM | {"status": 403, "detail": "the key lacks the scope label"}
    error = call(Answering(problem), lambda client: client.label("i", 0, 9, who="k"))
    assert isinstance(error, KeyRefused)
    assert "lacks the scope label" in str(error)
