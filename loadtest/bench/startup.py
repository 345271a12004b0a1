"""Part `start` of the benchmark: seconds until our service is ready, and its memory."""

import functools
import statistics
from typing import Final

from loadtest import digit_crops
from loadtest.bench.contender import BenchConfig
from loadtest.clients import wrk
from loadtest.process import Tree
from loadtest.servers import Server, is_ready, start, wait_until

MEMORY_MARKS: Final = (10_000, 100_000)


def start_and_memory(server: Server, config: BenchConfig) -> dict[str, float]:
    """Median seconds until /readyz answers 200 (three starts, files cached), and memory.

    Memory is read after each number of requests in `MEMORY_MARKS`; growth between them is a leak.
    """
    seconds = []
    for number in range(3):
        tree, port = start(server, config.folder / f"start-{number}")
        seconds.append(wait_until(functools.partial(is_ready, port), tree, timeout_s=60))
        if number < 2:
            tree.terminate(grace_s=10)
    try:
        return {"ready_s": statistics.median(seconds)} | _memory(server, tree, port)
    finally:
        tree.terminate(grace_s=10)


def _memory(server: Server, tree: Tree, port: int) -> dict[str, float]:
    requests = [server.request(crop) for crop in digit_crops.workload(28, 20)]
    figures: dict[str, float] = {"rss_mb_start": tree.memory().rss_bytes / 1e6}
    answered = 0
    for mark in MEMORY_MARKS:
        while answered < mark:
            answered += wrk.saturate(port, requests, connections=32, duration_s=1).requests
        memory = tree.memory()
        figures[f"rss_mb_{mark}"] = memory.rss_bytes / 1e6
        figures[f"pss_mb_{mark}"] = memory.pss_bytes / 1e6
    return figures
