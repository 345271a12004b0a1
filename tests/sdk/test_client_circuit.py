"""While the service is down nothing is sent, and a fallback reads; one read tries again."""

import asyncio
import random
import threading

import httpx
import pytest
from virtual_time import PNG, FakeService, client_of, outcome, run, unavailable

from digitline import CircuitOpen, CropRefused, DeadlineExceeded, NetworkFailed, Reading
from digitline.circuit import FEWEST_FAILED, FIRST_OPEN_S, LAST_OPEN_S, Circuit
from digitline.time_limits import TimeLimits

DOWN = (0.001, httpx.ConnectError("refused"))


def local_reading(crop, why):
    return Reading(
        digit=4, confidence=0.9, accepted=True, rejected_because=None, candidates=(),
        read_id="local-1", request_id="local-1", model_version="5", took_ms=1.0, source="local",
    )  # fmt: skip


async def break_down(client, service):
    service.usual = DOWN
    for _ in range(FEWEST_FAILED):
        await outcome(client.read(PNG))
    service.requests.clear()


def test_after_ten_failures_nothing_is_sent():
    service = FakeService()

    async def main():
        async with client_of(service) as client:
            await break_down(client, service)
            return await outcome(client.read(PNG))

    seconds, error = run(main())
    assert isinstance(error, CircuitOpen)
    assert seconds == 0
    assert not service.requests
    assert 0 < error.retry_after_s <= 1.5 * FIRST_OPEN_S


def test_one_read_tries_again_and_closes_the_circuit():
    service = FakeService()

    async def main():
        async with client_of(service) as client:
            await break_down(client, service)
            await asyncio.sleep(1.5 * FIRST_OPEN_S)
            service.usual = (0.02, None)
            results = await asyncio.gather(*(outcome(client.read(PNG)) for _ in range(5)))
            later = await outcome(client.read(PNG))
            return [type(answer) for _, answer in [*results, later]]

    assert run(main()) == [Reading, *[CircuitOpen] * 4, Reading]
    assert len(service.requests) == 2


def test_a_probe_that_fails_leaves_it_open():
    service = FakeService()

    async def main():
        async with client_of(service) as client:
            await break_down(client, service)
            await asyncio.sleep(1.5 * FIRST_OPEN_S)
            first = await outcome(client.read(PNG))
            second = await outcome(client.read(PNG))
            return type(first[1]), type(second[1])

    assert run(main()) == (NetworkFailed, CircuitOpen)


def test_a_probe_that_is_cancelled_lets_the_next_one_through():
    service = FakeService()

    async def main():
        async with client_of(service) as client:
            await break_down(client, service)
            await asyncio.sleep(1.5 * FIRST_OPEN_S)
            service.usual = (0.01, None)
            probe = asyncio.create_task(client.read(PNG))
            await asyncio.sleep(0.001)
            probe.cancel()
            await asyncio.gather(probe, return_exceptions=True)
            return await outcome(client.read(PNG))

    assert isinstance(run(main())[1], Reading)


def test_it_stays_open_as_long_as_the_service_asked_for():
    circuit = Circuit(random.Random(1))
    for _ in range(FEWEST_FAILED):
        circuit.on_failure(100.0, 30.0)
    with pytest.raises(CircuitOpen, match="s more"):
        circuit.enter(129.9)
    circuit.enter(145.1)


def test_each_probe_that_fails_doubles_the_time_until_the_next_up_to_1_s():
    circuit = Circuit(random.Random(1))
    for _ in range(FEWEST_FAILED):
        circuit.on_failure(0.0, None)
    now, waits = 0.0, []
    for _ in range(7):
        with pytest.raises(CircuitOpen) as refused:
            circuit.enter(now)
        waits.append(refused.value.retry_after_s)
        now += waits[-1]
        circuit.enter(now)
        circuit.on_failure(now, None)
    for number, wait_s in enumerate(waits):
        least_s = min(FIRST_OPEN_S * 2**number, LAST_OPEN_S)
        assert least_s <= wait_s <= 1.5 * least_s


def test_an_answer_makes_the_next_time_short_again():
    circuit = Circuit(random.Random(1))
    for end_s in (100.0, 200.0):
        for _ in range(FEWEST_FAILED):
            circuit.on_failure(end_s, None)
        with pytest.raises(CircuitOpen):
            circuit.enter(end_s + 0.9 * FIRST_OPEN_S)
        circuit.enter(end_s + 1.5 * FIRST_OPEN_S)
        circuit.on_failure(end_s + 1, None)
        circuit.enter(end_s + 9)
        circuit.on_answer()


def test_refusals_of_crops_are_answers():
    service = FakeService(usual=(0.001, unavailable(422)))

    async def main():
        async with client_of(service) as client:
            return [type((await outcome(client.read(PNG)))[1]) for _ in range(40)]

    assert set(run(main())) == {CropRefused}


def test_fewer_than_half_failed_keeps_it_closed():
    circuit = Circuit(random.Random(1))
    for number in range(1000):
        circuit.enter(number)
        if number % 5 in (0, 2):
            circuit.on_failure(number, None)
        else:
            circuit.on_answer()
    assert not circuit.is_open


@pytest.mark.parametrize("script", [DOWN, (60, None), (0.001, unavailable(retry_after="9"))])
def test_a_fallback_reads_what_the_service_did_not(script):
    service = FakeService(usual=script)
    seconds, reading = run_with_fallback(service, local_reading)
    assert (reading.digit, reading.source) == (4, "local")
    assert seconds <= 0.15


def test_a_fallback_does_not_read_what_the_service_refused():
    _seconds, error = run_with_fallback(FakeService(usual=(0.001, unavailable(422))), local_reading)
    assert isinstance(error, CropRefused)


def run_with_fallback(service, fallback):
    async def main():
        async with client_of(service, fallback=fallback) as client:
            return await outcome(client.read(PNG))

    return run(main())


def test_the_fallback_is_told_why():
    reasons = []

    def fallback(crop, why):
        reasons.append((crop, type(why), why.num_sent))
        return local_reading(crop, why)

    run_with_fallback(FakeService(usual=(60, None)), fallback)
    assert reasons == [(PNG, DeadlineExceeded, 1)]


def test_the_fallback_runs_beside_the_event_loop():
    threads = []

    def fallback(crop, why):
        threads.append(threading.current_thread())
        return local_reading(crop, why)

    run_with_fallback(FakeService(usual=DOWN), fallback)
    assert threads[0] is not threading.main_thread()


def test_an_open_circuit_reads_locally_at_once():
    service = FakeService()

    async def main():
        async with client_of(service, fallback=local_reading) as client:
            await break_down(client, service)
            return await outcome(client.read(PNG))

    seconds, reading = run(main())
    assert reading.source == "local"
    assert seconds == 0
    assert not service.requests


def test_the_fallbacks_usual_time_is_kept_free():
    limits = TimeLimits(150, has_fallback=True)
    assert limits.network_deadline(10.0) == pytest.approx(10.115)
    for _ in range(30):
        limits.on_fallback(0.002)
    assert limits.network_deadline(10.0) == pytest.approx(10.137)
    for _ in range(300):
        limits.on_fallback(9.0)
    assert limits.network_deadline(10.0) == pytest.approx(10.065)


def test_without_a_fallback_only_the_margin_is_kept():
    assert TimeLimits(150, has_fallback=False).network_deadline(0.0) == pytest.approx(0.140)
    assert TimeLimits(10, has_fallback=False).network_deadline(0.0) == pytest.approx(0.009)


def test_the_error_of_a_fallback_has_the_networks_as_its_context():
    def broken(crop, why):
        raise RuntimeError("no model")

    _, error = run_with_fallback(FakeService(usual=(60, None)), broken)
    assert isinstance(error, RuntimeError)
    assert isinstance(error.__context__, DeadlineExceeded)


def test_a_read_that_its_thread_begins_too_late_sends_nothing():
    """Many reads in a waiting thread's turn would each make those behind it later still."""
    service = FakeService()

    async def main():
        now = asyncio.get_running_loop().time()
        async with client_of(service) as client:
            late = client._core.read(PNG, begun=now - 1, deadline=now, letter_deadline_ms=None)
            return await outcome(late)

    _, error = run(main())
    assert isinstance(error, DeadlineExceeded)
    assert error.num_sent == 0
    assert not service.requests


def test_reads_that_their_threads_give_up_at_the_deadline_open_the_circuit():
    service = FakeService(usual=(9, None))

    async def main():
        loop = asyncio.get_running_loop()
        async with client_of(service) as client:
            for _ in range(FEWEST_FAILED):
                read = asyncio.create_task(client.read(PNG))
                await asyncio.sleep(0.01)
                loop._now += 1  # the loop is late, and the waiting thread sees the deadline first
                read.cancel()
                await asyncio.wait({read})
            return await outcome(client.read(PNG))

    assert isinstance(run(main())[1], CircuitOpen)
