"""A model that hangs or fails, and a crop that cannot be read: other requests are answered."""

import asyncio
import time

from loadtest.clients.http1 import Connection
from tests.acceptance.harness import STOCK, STOCK_BATCH, Load, Report, Service, one_crop, only_ours

BURSTS, BURST = 100, 32
HANG_S = 9.0


def poison(report: Report, kind: str) -> None:
    """One truncated PNG in each burst of 32; stock BentoML with its own batching on."""
    kind = STOCK_BATCH if kind == STOCK else kind
    with Service(kind) as service:
        load = Load(service)
        png = one_crop()
        bad = service.crop_request(png[: len(png) // 2]).wire("127.0.0.1")

        async def run() -> tuple[list[int], list[int]]:
            poisoned, neighbours = [], []
            connections = [await Connection.open("127.0.0.1", service.port) for _ in range(BURST)]
            for number in range(BURSTS):
                place = number % BURST
                wires = [load.wires[index % len(load.wires)] for index in range(BURST)]
                wires[place] = bad
                answers = await asyncio.gather(
                    *(one.send(wire) for one, wire in zip(connections, wires, strict=True))
                )
                for index, answer in enumerate(answers):
                    if index == place:
                        poisoned.append(answer.status)
                    elif answer.status != 200 or not load.is_right(index, answer):
                        neighbours.append(answer.status)
            return poisoned, neighbours

        poisoned, harmed = asyncio.run(run())
        report.fact("bursts", BURSTS)
        report.fact("neighbours", BURSTS * (BURST - 1))
        report.fact("neighbours_harmed", len(harmed))
        report.fact("answers_to_poison", sorted(set(poisoned)))
        report.expect("0 neighbours harmed", not harmed)
        report.expect("poison is a 422", set(poisoned) == {422})


def failing_batch(report: Report, kind: str) -> None:
    """Inference raises for every batch of more than one."""
    kind = STOCK_BATCH if kind == STOCK else kind
    with Service(kind, faults=True) as service:
        load = Load(service)
        service.harm(raise_above=1, cost_ms=2)

        async def run() -> list[bool]:
            connections = [await Connection.open("127.0.0.1", service.port) for _ in range(BURST)]
            right = []
            for _ in range(10):
                answers = await asyncio.gather(
                    *(one.send(load.wires[index]) for index, one in enumerate(connections))
                )
                right += [
                    answer.status == 200 and load.is_right(index, answer)
                    for index, answer in enumerate(answers)
                ]
            return right

        right = asyncio.run(run())
        report.fact("requests", len(right))
        report.fact("answered_right", sum(right))
        report.expect("every item of a failed batch is answered singly", all(right))


def hung_model(report: Report, kind: str) -> None:
    """One call that takes nine seconds, under 20 requests a second."""
    with Service(kind, faults=True) as service:
        load = Load(service)
        ready: list[tuple[float, int]] = []

        async def watch(begun: float) -> None:
            while True:
                status = await asyncio.to_thread(service.status, "/readyz")
                ready.append((time.perf_counter() - begun, status))
                await asyncio.sleep(0.25)

        async def run() -> None:
            service.harm(hang_s=HANG_S)
            begun = time.perf_counter()
            watcher = asyncio.create_task(watch(begun))
            # Only the first call hangs: the fault is lifted while it runs.
            lift = asyncio.create_task(asyncio.to_thread(_lift_after, service, 1.0))
            sample = await load.run(service.port, 20, HANG_S - 1.0, timeout_s=15)
            await lift
            report.fact("requests_during_the_hang", len(sample.status))
            report.fact("statuses", sample.statuses())
            slowest = float(sample.latency_ms.max())
            report.fact("slowest_answer_ms", slowest)
            report.expect("all answered or refused within 2.3 s", slowest <= 2300)
            report.expect("as 503 or 504", set(sample.statuses()) <= {"200", "503", "504"})
            await asyncio.sleep(max(begun + HANG_S + 2 - time.perf_counter(), 0))
            after = await load.run(service.port, 50, 3)
            watcher.cancel()
            report.fact("failed_after_the_hang", after.num_failed)
            report.fact("wrong", sample.num_wrong + after.num_wrong)
            report.expect("recovers by itself", after.num_failed == 0)
            report.expect("no wrong answer", sample.num_wrong + after.num_wrong == 0)

        asyncio.run(run())
        red = [seconds for seconds, status in ready if status != 200]
        report.fact("readiness_red_after_s", red[0] if red else None)
        report.fact("readiness_at_the_end", ready[-1][1])
        report.expect("readiness is red within 10 s", red and red[0] <= 10)
        report.expect("and green again", ready[-1][1] == 200)


def _lift_after(service: Service, seconds: float) -> None:
    time.sleep(seconds)
    service.harm()


def hung_for_ever(report: Report, kind: str) -> None:
    """A call that never returns: the worker exits and is replaced."""
    only_ours(kind)
    with Service(faults=True) as service:
        service.harm(hang_s=3600)
        before = service.worker_pids()
        begun = time.perf_counter()
        service.read(one_crop())
        service.harm()
        while service.worker_pids() == before and time.perf_counter() - begun < 60:
            time.sleep(0.1)
        service.wait_ready()
        seconds = time.perf_counter() - begun
        status = service.read(one_crop())[0]
        report.fact("serving_again_after_s", seconds)
        report.fact("answer_then", status)
        report.expect("serving again within 45 s", seconds < 45 and status == 200)


CHECKS = {
    "poison": poison,
    "failing-batch": failing_batch,
    "hung-model": hung_model,
    "hung-for-ever": hung_for_ever,
}
