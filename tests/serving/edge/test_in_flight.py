import asyncio

import pytest

from serving.edge import in_flight
from serving.edge.in_flight import WATCH_AFTER_S, InFlight
from serving.problems import Problem


class Clock:
    """Replaces the time module in serving.edge.in_flight."""

    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(in_flight, "time", made)
    return made


@pytest.fixture
def requests(clock):
    return InFlight(4, body_deadline_s=5.0, request_deadline_s=2.0)


async def silence():
    await asyncio.Event().wait()


async def answer(requests, entered, *, is_body_complete, receive=silence):
    exchange = requests.enter(receive)
    exchange.is_body_complete = is_body_complete
    entered.set_result(exchange)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        if exchange.ended_by is None:
            raise
    finally:
        requests.leave(exchange)
    return exchange.ended_by


@pytest.fixture
async def begin(requests):
    tasks = []

    async def start(**options):
        entered = asyncio.get_running_loop().create_future()
        tasks.append(asyncio.create_task(answer(requests, entered, **options)))
        return tasks[-1], await entered

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(
    ("is_body_complete", "deadline_s", "reason"),
    [(False, 5.0, "body deadline"), (True, 2.0, "request deadline")],
)
async def test_a_request_is_ended_past_its_deadline_and_not_before(
    requests, clock, begin, is_body_complete, deadline_s, reason
):
    task, exchange = await begin(is_body_complete=is_body_complete)
    clock.now += deadline_s
    requests.tick()
    assert exchange.ended_by is None
    clock.now += 0.01
    requests.tick()
    assert await task == reason


async def test_a_request_is_counted_while_it_is_in_progress(requests, clock, begin):
    assert len(requests) == 0
    task, _ = await begin(is_body_complete=True)
    await begin(is_body_complete=True)
    assert len(requests) == 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(requests) == 1


async def test_only_the_late_request_is_ended(requests, clock, begin):
    late, _ = await begin(is_body_complete=True)
    clock.now += 1.5
    _, young = await begin(is_body_complete=True)
    clock.now += 1.0
    requests.tick()
    assert await late == "request deadline"
    assert young.ended_by is None


async def test_a_disconnect_ends_the_request(requests, clock, begin):
    async def gone():
        return {"type": "http.disconnect"}

    task, _ = await begin(is_body_complete=True, receive=gone)
    clock.now += WATCH_AFTER_S + 0.01
    requests.tick()
    assert await task == "disconnect"


async def test_a_young_request_is_not_watched(requests, clock, begin):
    _, exchange = await begin(is_body_complete=True)
    clock.now += WATCH_AFTER_S
    requests.tick()
    assert exchange.watcher is None


async def test_the_watcher_does_not_read_an_incomplete_body(requests, clock, begin):
    """Otherwise it would consume a part of the body."""
    _, exchange = await begin(is_body_complete=False)
    clock.now += WATCH_AFTER_S + 1
    requests.tick()
    assert exchange.watcher is None


async def test_a_watcher_ends_with_its_request(requests, clock, begin):
    task, exchange = await begin(is_body_complete=True)
    clock.now += WATCH_AFTER_S + 0.01
    requests.tick()
    watcher = exchange.watcher
    task.cancel()
    await asyncio.gather(task, watcher, return_exceptions=True)
    assert watcher.cancelled()


async def test_a_request_is_ended_once(requests, clock, begin):
    task, exchange = await begin(is_body_complete=True)
    exchange.end("disconnect")
    clock.now += 100
    requests.tick()
    assert await task == "disconnect"


async def test_an_answered_request_is_not_ended_while_its_answer_is_sent(requests, clock, begin):
    task, exchange = await begin(is_body_complete=True)
    requests.end_answer(exchange)
    clock.now += 100
    requests.tick()
    await asyncio.sleep(0)
    assert exchange.ended_by is None
    assert not task.done()


async def test_one_sender_may_have_half_of_the_requests_and_another_finds_room(requests):
    exchanges = [requests.enter(silence) for _ in range(4)]
    for exchange in exchanges[:2]:
        requests.admit(exchange, "a")
        requests.begin_answer(exchange)
    with pytest.raises(Problem, match=r"2 of your requests.*limits are 4 .*send fewer") as caught:
        requests.admit(exchanges[2], "a")
    assert caught.value.status == 429
    requests.admit(exchanges[3], "b")
    requests.begin_answer(exchanges[3])
    requests.leave(exchanges[0])
    requests.leave(exchanges[2])  # it was never admitted, so it gives nothing back
    with pytest.raises(Problem):
        requests.admit(exchanges[2], "a")
    requests.leave(exchanges[3])
    requests.admit(exchanges[2], "a")
