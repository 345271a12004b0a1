"""A second request when the first one is slow: the first answer counts, within a budget."""

import asyncio
import gc

import httpx
import pytest
from virtual_time import PNG, FakeService, client_of, outcome, run, unavailable

from digitline import CropRefused, DeadlineExceeded
from digitline.latency_window import FEWEST, LatencyWindow
from digitline.retry_budget import MOST, RetryBudget


def after_usual_reads(service, number, *more, **options):
    """Outcome of one read after so many usual ones, of 4 ms falling to 2 ms."""

    async def main():
        async with client_of(service, **options) as client:
            for n in range(number):
                service.script = [(0.004 - 0.002 * n / number, None)]
                await client.read(PNG)
            service.requests.clear()
            service.times.clear()
            service.script = list(more)
            ended = await outcome(client.read(PNG))
            await asyncio.sleep(0)
            await asyncio.sleep(0)  # what lost has ended, too
            return ended

    return run(main())


def test_a_slow_read_is_hedged_after_the_p95_and_the_first_answer_counts():
    service = FakeService()
    seconds, reading = after_usual_reads(service, 50, (0.1, None), (0.002, None))
    assert service.kinds() == [None, "hedge"]
    assert service.times[1] - service.times[0] == pytest.approx(0.0039, abs=0.0002)
    assert seconds == pytest.approx(0.0059, abs=0.0002)
    assert reading.request_id == service.requests[0].headers["x-request-id"]
    ids = {request.headers["idempotency-key"] for request in service.requests}
    assert len(ids) == 1


def test_the_request_that_lost_is_cancelled():
    service = FakeService()
    after_usual_reads(service, 50, (0.1, None), (0.002, None))
    assert service.num_cancelled == 1


def test_the_first_request_may_still_win():
    service = FakeService()
    seconds, _ = after_usual_reads(service, 50, (0.02, None), (0.1, None))
    assert len(service.requests) == 2
    assert seconds == pytest.approx(0.02)


def test_nothing_is_hedged_while_too_little_is_known():
    service = FakeService()
    after_usual_reads(service, FEWEST - 1, (0.1, None))
    assert service.kinds() == [None]


def test_a_hedge_that_fails_leaves_the_first_request_alone():
    service = FakeService()
    hedge = (0.001, httpx.ReadError("reset"))
    seconds, reading = after_usual_reads(service, 50, (0.1, None), hedge)
    assert reading.digit == 7
    assert seconds == pytest.approx(0.1)
    assert service.kinds() == [None, "hedge"]


def test_a_refusal_by_either_ends_the_read():
    service = FakeService()
    seconds, error = after_usual_reads(service, 50, (0.1, None), (0.002, unavailable(422)))
    assert isinstance(error, CropRefused)
    assert seconds < 0.01


def ended_together(first, second):
    """Outcome where the request and its hedge end in one turn of the loop."""
    service = FakeService()
    after_usual_reads(service, 50, (0.1, None), (0.002, None))
    hedged_after = service.times[1] - service.times[0]
    return after_usual_reads(FakeService(), 50, (0.1, first), (0.1 - hedged_after, second))


@pytest.mark.parametrize("refused", [0, 1])
def test_an_answer_counts_where_the_other_is_refused_at_once(refused):
    replies = [None, None]
    replies[refused] = unavailable(422)
    _seconds, reading = ended_together(*replies)
    assert reading.digit == 7


def test_no_failure_is_left_for_asyncio_to_log(caplog):
    _seconds, error = ended_together(unavailable(422), unavailable(422))
    assert isinstance(error, CropRefused)
    del error  # its traceback keeps the tasks

    class ResetWhenCancelled(FakeService):
        async def handle_async_request(self, request):
            try:
                return await super().handle_async_request(request)
            except asyncio.CancelledError:
                raise httpx.ReadError("reset") from None

    _seconds, reading = after_usual_reads(ResetWhenCancelled(), 50, (0.1, None), (0.002, None))
    assert reading.digit == 7
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]


def test_a_service_that_is_slow_throughout_gets_a_fifth_more_at_most():
    service = FakeService()

    async def main():
        async with client_of(service, deadline_ms=1000) as client:
            for n in range(1000):
                service.script = [(0.002 if n < 100 else 0.05 + 0.1 * (n % 7), None)]
                await outcome(client.read(PNG))

    run(main())
    assert 1100 < len(service.requests) <= 1200


def test_labels_are_not_hedged():
    service = FakeService()

    async def main():
        async with client_of(service) as client:
            for _ in range(50):
                await client.read(PNG)
            service.requests.clear()
            stored = {"event_id": "e", "read_id": "r", "crop_index": 0, "label": "7",
                      "read": "known"}  # fmt: skip
            service.script = [(1.0, httpx.Response(200, json={"results": [stored]}))]
            return await client.label("r", 0, 7, who="keyer-17")

    assert run(main()).event_id == "e"
    assert service.kinds() == [None]


def test_a_hedged_read_keeps_its_deadline():
    service = FakeService(usual=(60, None))
    seconds, error = after_usual_reads(service, 50)
    assert isinstance(error, DeadlineExceeded)
    assert seconds <= 0.15
    assert error.num_sent == 2


def test_the_p95_is_above_19_of_20_durations():
    window = LatencyWindow()
    for number in range(200):
        window.add(number)
    assert window.p95_s() == pytest.approx(189, abs=1)
    for _ in range(200):
        window.add(7)
    assert window.p95_s() == 7


def test_the_budget_earns_at_most_ten_tokens_in_quiet_times():
    budget = RetryBudget()
    for _ in range(10_000):
        budget.earn()
    assert [budget.spend() for _ in range(12)] == [True] * int(MOST) + [False] * 2


def test_hedges_of_reads_at_the_same_time_share_the_budget():
    service = FakeService()

    async def main():
        async with client_of(service) as client:
            for n in range(30):
                service.script = [(0.002 + 0.0001 * n, None)]
                await client.read(PNG)
            service.requests.clear()
            service.usual = (0.1, None)
            await asyncio.gather(*(client.read(PNG) for _ in range(60)))

    run(main())
    assert len(service.requests) <= 60 + 0.18 * 90 + 1
