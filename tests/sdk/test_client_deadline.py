"""A read ends within its deadline, over all tries; what it costs the service is bounded."""

import asyncio
import contextlib

import httpx
import pytest
from virtual_time import PNG, FakeService, answered, client_of, outcome, run, unavailable

from digitline import (
    AnswerUnreadable,
    AsyncDigitline,
    CircuitOpen,
    ClientClosed,
    CropRefused,
    DeadlineExceeded,
    KeyRefused,
    NetworkFailed,
    Reading,
    RequestRefused,
    ServiceUnavailable,
)
from digitline.connecting import MOST_AT_ONCE


def read_once(service, **options):
    async def main():
        async with client_of(service, **options) as client:
            return await outcome(client.read(PNG))

    return run(main())


def test_a_read_is_a_typed_answer():
    service = FakeService()
    _seconds, reading = read_once(service)
    assert isinstance(reading, Reading)
    assert (reading.digit, reading.accepted, reading.source) == (7, True, "service")
    assert reading.candidates[0].probability == 0.99
    assert reading.took_ms == pytest.approx(2.0)
    (request,) = service.requests
    assert request.url == "http://service/v1/digit"
    assert request.content == PNG
    assert request.headers["content-type"] == "image/png"
    assert request.headers["authorization"] == "Bearer key"
    assert reading.request_id == request.headers["x-request-id"]


@pytest.mark.parametrize("url", ["https://host/digits", "https://host/digits/"])
def test_a_service_may_live_below_a_path(url):
    service = FakeService()

    async def main():
        async with AsyncDigitline(url, transport=service) as client:
            await client.read(PNG)

    run(main())
    (request,) = service.requests
    assert str(request.url) == "https://host/digits/v1/digit"
    assert "authorization" not in request.headers


def test_a_service_that_never_answers_is_an_error_before_the_deadline():
    seconds, error = read_once(FakeService(usual=(60, None)), deadline_ms=150)
    assert isinstance(error, DeadlineExceeded)
    assert 0.130 < seconds <= 0.150
    assert "140 ms" in str(error)
    assert "deadline_ms" in str(error)
    assert error.num_sent == 1


def test_a_failed_read_is_sent_again_with_the_same_ids():
    service = FakeService((0.001, httpx.ReadError("reset")), (0.002, None))
    _seconds, reading = read_once(service)
    assert reading.digit == 7
    first, second = service.requests
    assert first.headers["x-request-id"] == second.headers["x-request-id"]
    assert first.headers["idempotency-key"] == first.headers["x-request-id"]
    assert second.headers["idempotency-key"] == first.headers["x-request-id"]
    assert service.kinds() == [None, "retry"]


def test_two_reads_have_two_ids():
    service = FakeService()

    async def main():
        async with client_of(service) as client:
            await client.read(PNG)
            await client.read(PNG)

    run(main())
    first, second = service.requests
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


def test_retries_end_with_the_deadline_too():
    service = FakeService(usual=(0.04, httpx.ConnectError("refused")))
    seconds, error = read_once(service, deadline_ms=100)
    assert isinstance(error, (DeadlineExceeded, NetworkFailed))
    assert seconds <= 0.1
    assert len(service.requests) == 2  # there is one token


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_succeed_later_is_sent_again(status):
    service = FakeService((0.001, unavailable(status)))
    _, reading = read_once(service)
    assert reading.digit == 7


def test_retry_after_that_is_within_the_deadline_is_waited_for():
    service = FakeService((0.001, unavailable(retry_after="1")))
    _, reading = read_once(service, deadline_ms=2000)
    assert reading.digit == 7
    assert service.times[1] - service.times[0] >= 1.001


def test_retry_after_beyond_the_deadline_ends_the_read_at_once():
    service = FakeService((0.001, unavailable(retry_after="1")))
    seconds, error = read_once(service, deadline_ms=150)
    assert isinstance(error, ServiceUnavailable)
    assert error.retry_after_s == 1
    assert seconds < 0.01
    assert len(service.requests) == 1
    assert "the wait is 300 ms, the limit 200" in str(error)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, KeyRefused), (403, KeyRefused), (413, CropRefused), (415, CropRefused),
     (422, CropRefused), (400, RequestRefused), (404, RequestRefused)],
)  # fmt: skip
def test_a_refusal_is_not_sent_again_and_says_why(status, kind):
    service = FakeService((0.001, unavailable(status)))
    _, error = read_once(service)
    assert type(error) is kind
    (request,) = service.requests
    assert (error.problem.status, error.request_id) == (status, request.headers["x-request-id"])
    assert "the wait is 300 ms" in str(error)


@pytest.mark.parametrize(
    "reply",
    [httpx.Response(200, content=b'{"digit": 7, "conf'), httpx.Response(200, content=b"[]"),
     httpx.Response(302, headers={"location": "/login"})],
)  # fmt: skip
def test_half_an_answer_is_asked_for_again(reply):
    service = FakeService((0.001, reply))
    _, reading = read_once(service)
    assert reading.digit == 7


@pytest.mark.parametrize("changes", [{"digit": "x"}, {"candidates": None}, {"confidence": {}}])
def test_an_answer_of_another_shape_is_an_error_of_its_own(changes):
    _, error = read_once(FakeService(usual=(0.001, answered(**changes))))
    assert isinstance(error, AnswerUnreadable)


def test_a_refusal_by_a_proxy_without_a_problem_still_says_where_it_came_from():
    _, error = read_once(FakeService((0.001, httpx.Response(403, content=b"<html>"))))
    assert isinstance(error, KeyRefused)
    assert "http://service/v1/digit answered 403" in str(error)


def test_extra_requests_are_at_most_a_fifth_of_the_reads():
    service = FakeService(usual=(0.001, unavailable()))

    async def main():
        async with client_of(service) as client:
            sent = 0
            for _ in range(400):
                _, error = await outcome(client.read(PNG))
                sent += not isinstance(error, CircuitOpen)
                await asyncio.sleep(0.05)
            return sent

    num_reads = run(main())
    assert num_reads < len(service.requests) <= 1.2 * num_reads + 1


def test_alternate_failures_are_repeated_only_within_the_budget():
    service = FakeService()

    async def main():
        async with client_of(service) as client:
            for number in range(1000):
                if number % 3 == 0:
                    service.script = [(0.001, httpx.ReadError("reset"))]
                await outcome(client.read(PNG))

    run(main())
    assert 1100 < len(service.requests) <= 1200
    assert service.kinds().count(None) == 1000


def test_the_letters_deadline_shrinks_on_each_try():
    service = FakeService((0.1, httpx.ReadError("reset")))

    async def main():
        async with client_of(service, deadline_ms=1000) as client:
            await client.read(PNG, letter_deadline_ms=5000)
            await client.read(PNG)

    run(main())
    first, second, other = service.requests
    assert first.headers["x-deadline-ms"] == "5000"
    assert 4000 < int(second.headers["x-deadline-ms"]) <= 4900
    assert "x-deadline-ms" not in other.headers


@pytest.mark.parametrize("deadline_ms", [0, -1, 60_001, float("nan")])
def test_a_deadline_that_is_none_is_refused(deadline_ms):
    with pytest.raises(ValueError, match="1 to 60,000"):
        client_of(FakeService(), deadline_ms=deadline_ms)


def test_a_closed_client_says_so():
    async def main():
        client = client_of(FakeService())
        await client.aclose()
        await client.aclose()
        return await outcome(client.read(PNG))

    assert isinstance(run(main())[1], ClientClosed)


def test_a_read_that_its_caller_cancels_cancels_its_request():
    service = FakeService(usual=(60, None))

    async def main():
        async with client_of(service, deadline_ms=10_000) as client:
            reading = asyncio.create_task(client.read(PNG))
            await asyncio.sleep(0.01)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    run(main())
    assert service.num_cancelled == 1


def test_trace_context_goes_with_each_try():
    from opentelemetry import trace
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

    service = FakeService((0.001, httpx.ReadError("reset")))
    span = NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1)))

    async def main():
        async with client_of(service) as client:
            with trace.use_span(span):
                await client.read(PNG)
            await client.read(PNG)

    run(main())
    sent = [request.headers.get("traceparent") for request in service.requests]
    assert sent == [f"00-{0xABC:032x}-{0xDEF:016x}-01"] * 2 + [None]


async def test_requests_that_were_given_up_leave_no_connection():
    async def say_nothing(reader, writer):
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with AsyncDigitline(url, deadline_ms=20) as client:
            reads = await asyncio.gather(
                *(client.read(PNG) for _ in range(30)), return_exceptions=True
            )
            assert {type(one) for one in reads} == {DeadlineExceeded}
            pool = client._core._http._transport._pool
            await asyncio.gather(*client._core._caller._given_up, return_exceptions=True)
            assert len(pool.connections) <= MOST_AT_ONCE  # made beside reads that had none yet
            await client._core._caller._connector.aclose()
            assert not pool.connections
