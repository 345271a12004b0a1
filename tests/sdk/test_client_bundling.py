"""Reads of the same millisecond in one request, each with its own answer."""

import asyncio

import httpx
import pytest
from virtual_time import ANSWER, PNG, FakeService, client_of, outcome, run, unavailable

from digitline import AnswerUnreadable, CropRefused, DeadlineExceeded, NetworkFailed, Reading
from digitline.bundling import MOST_BYTES, MOST_CROPS

RESULT = {key: ANSWER[key] for key in ("digit", "confidence", "accepted", "candidates")}
PROBLEM = {"status": 422, "type": "t", "title": "t", "detail": "1x1 px", "request_id": "r"}


class BulkService(FakeService):
    """Reads the number in each crop as its digit; a crop "bad" is an error in its place."""

    async def handle_async_request(self, request):
        response = await super().handle_async_request(request)
        if response.status_code != 200 or request.url.path != "/v1/digits":
            return response
        crops = [part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
                 for part in request.content.split(b"--" + boundary_of(request))[1:-1]]  # fmt: skip
        results = [{"error": PROBLEM} if crop == b"bad" else RESULT | {"digit": int(crop[-1:])}
                   for crop in crops]  # fmt: skip
        return httpx.Response(200, json={
            "request_id": request.headers["x-request-id"], "read_id": "bundle",
            "model_version": "5", "results": results,
        })  # fmt: skip


def boundary_of(request):
    return request.headers["content-type"].partition("boundary=")[2].encode()


def read_together(service, crops, **options):
    async def main():
        async with client_of(service, bundle_ms=1, **options) as client:
            return await asyncio.gather(*(outcome(client.read(crop)) for crop in crops))

    return run(main())


def test_reads_of_one_millisecond_are_one_request_with_an_answer_each():
    service = BulkService()
    results = read_together(service, [PNG + b"%d" % n for n in range(5)])
    assert [reading.digit for _, reading in results] == [0, 1, 2, 3, 4]
    assert [reading.crop_index for _, reading in results] == [0, 1, 2, 3, 4]
    assert {reading.read_id for _, reading in results} == {"bundle"}
    assert [request.url.path for request in service.requests] == ["/v1/digits"]
    assert all(seconds == pytest.approx(0.003) for seconds, _ in results)


def test_a_read_without_company_goes_the_usual_way():
    service = BulkService()
    ((_seconds, reading),) = read_together(service, [PNG])
    assert [request.url.path for request in service.requests] == ["/v1/digit"]
    assert reading.crop_index == 0


def test_a_bad_crop_fails_alone():
    results = read_together(BulkService(), [PNG + b"1", b"bad", PNG + b"3"])
    (_, first), (_, second), (_, third) = results
    assert (first.digit, third.digit, third.crop_index) == (1, 3, 2)
    assert isinstance(second, CropRefused)
    assert "1x1 px" in str(second)


def test_a_request_that_fails_fails_each_of_its_reads():
    service = BulkService(usual=(0.001, httpx.ReadError("reset")))
    results = read_together(service, [PNG, PNG, PNG])
    assert [type(error) for _, error in results] == [NetworkFailed] * 3


def test_bundled_reads_keep_the_deadline_of_the_first():
    results = read_together(BulkService(usual=(60, None)), [PNG, PNG])
    assert [type(error) for _, error in results] == [DeadlineExceeded] * 2
    assert all(seconds <= 0.15 for seconds, _ in results)


def test_bundled_reads_have_the_fallback_each():
    def fallback(crop, why):
        return Reading(digit=int(crop[-1:]), confidence=1, accepted=True, rejected_because=None,
                       candidates=(), read_id="", request_id="", model_version="", took_ms=1,
                       source="local")  # fmt: skip

    service = BulkService(usual=(0.001, unavailable(retry_after="5")))
    results = read_together(service, [PNG + b"1", PNG + b"2"], fallback=fallback)
    assert [(reading.digit, reading.source) for _, reading in results] == [
        (1, "local"), (2, "local"),
    ]  # fmt: skip


def test_a_bundle_has_as_many_crops_and_bytes_as_the_service_takes():
    service = BulkService()
    read_together(service, [PNG + b"1"] * (MOST_CROPS + 2), deadline_ms=5000)
    large = PNG + b"1" * (MOST_BYTES // 2 - 20)
    read_together(service, [large] * 3, deadline_ms=5000)
    sizes = [len(request.content) for request in service.requests]
    assert [request.url.path for request in service.requests[:2]] == ["/v1/digits"] * 2
    assert len(service.requests) == 4
    assert max(sizes) < 2 * MOST_BYTES


def test_too_few_results_are_an_answer_that_cannot_be_read():
    reply = {"request_id": "r", "read_id": "b", "model_version": "5", "results": [RESULT]}
    service = FakeService(usual=(0.001, httpx.Response(200, json=reply)))
    results = read_together(service, [PNG, PNG])
    assert [type(error) for _, error in results] == [AnswerUnreadable] * 2


def test_a_read_that_its_caller_cancels_leaves_the_others():
    service = BulkService()

    async def main():
        async with client_of(service, bundle_ms=1) as client:
            reads = [asyncio.create_task(client.read(PNG + b"%d" % n)) for n in range(3)]
            await asyncio.sleep(0)
            reads[1].cancel()
            return await asyncio.gather(*reads, return_exceptions=True)

    first, second, third = run(main())
    assert isinstance(second, asyncio.CancelledError)
    assert (first.digit, third.digit) == (0, 2)


@pytest.mark.parametrize("wait_s", [0, 0.0005, 0.002])
def test_closing_leaves_no_read_waiting(wait_s):
    async def main():
        client = client_of(BulkService(usual=(60, None)), bundle_ms=1, deadline_ms=5000)
        reads = [asyncio.create_task(client.read(PNG)) for _ in range(3)]
        await asyncio.sleep(wait_s)
        await client.aclose()
        async with asyncio.timeout(1):
            return await asyncio.gather(*reads, return_exceptions=True)

    assert all(isinstance(one, BaseException) for one in run(main()))


def test_a_letter_that_waits_on_the_belt_is_not_bundled():
    service = BulkService()

    async def main():
        async with client_of(service, bundle_ms=1) as client:
            reads = (client.read(PNG + b"1", letter_deadline_ms=900) for _ in range(2))
            return await asyncio.gather(*reads)

    run(main())
    assert [request.url.path for request in service.requests] == ["/v1/digit"] * 2
