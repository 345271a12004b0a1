"""The parts of the benchmark that only our own service has: packed crops, start, memory."""

import asyncio
import functools
import io
import statistics
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from capture import spool_bench as appends
from loadtest import digit_crops
from loadtest.bench.measurements import BenchConfig, Contender
from loadtest.bench.peers.same_work import Reader
from loadtest.clients import wrk
from loadtest.clients.http1 import Request, multipart
from loadtest.digit_crops import LabelledCrop
from loadtest.process import Tree, pinned_to
from loadtest.servers import SERVER_CORE, Server, is_ready, start, wait_until
from model.decode import decode
from model.framed import Framed
from model.preprocess import frame_many, preprocess

PACKED: Final = (64, 256, 1024)
NUM_FILES: Final = 64
NUM_MICRO: Final = 2000
MEMORY_MARKS: Final = (10_000, 100_000)
CALLERS: Final = 2  # enough that one request waits while another is worked on


def packed_request(server: Server, samples: list[LabelledCrop], num_crops: int) -> Request:
    """One /v1/digits request of N 28x28 crops as one uint8 array in numpy's file format."""
    rows = [crop.pixels() for crop in samples]
    file = io.BytesIO()
    np.save(file, np.stack([rows[index % len(rows)] for index in range(num_crops)]))
    return Request("/v1/digits", "application/x-npy", file.getvalue(), server.headers)


def files_request(server: Server, samples: list[LabelledCrop]) -> Request:
    """One /v1/digits request of PNG files in a form."""
    files = [crop.png for crop in samples]
    return multipart("/v1/digits", "images", files, server.headers)


def many_crops(contender: Contender) -> dict[str, float]:
    """Crops a second in /v1/digits, beside the same work in a bare loop on the same core."""
    server = contender.server
    framed = digit_crops.workload(28, NUM_FILES)
    loose = [
        digit_crops.resized(crop, 28) for crop in digit_crops.spread(digit_crops.load(), NUM_FILES)
    ]
    figures: dict[str, float] = {}
    for size in PACKED:
        figures[f"packed_{size}"] = size * _rate(contender, packed_request(server, framed, size))
    figures["loose_256"] = 256 * _rate(contender, packed_request(server, loose, 256))
    figures["files_64"] = NUM_FILES * _rate(contender, files_request(server, framed))
    contender.running.pause()
    with pinned_to(SERVER_CORE):
        figures |= bare_rates(framed, loose)
    contender.running.resume()
    return figures


def _rate(contender: Contender, request: Request) -> float:
    answer = asyncio.run(contender.ask(request))
    assert answer.status == 200, (answer.status, answer.body[:300])
    result = wrk.saturate(
        contender.port,
        [request],
        connections=CALLERS,
        duration_s=contender.config.saturate_s,
    )
    return result.rps


def bare_rates(framed: list[LabelledCrop], loose: list[LabelledCrop]) -> dict[str, float]:
    """Crops a second of decode, preprocess and inference in a loop, without any server."""
    reader = Reader()

    def rate(inputs: list[Any], to_crops: Callable[[list[Any]], list[NDArray[np.uint8]]]) -> float:
        def work() -> None:
            framed = [one for one in frame_many(to_crops(inputs)) if isinstance(one, Framed)]
            reader.classifier(np.stack([one.image for one in framed]))

        return len(inputs) / seconds_each(work, 40)

    return {
        "bare_packed": rate([crop.pixels() for crop in framed], list),
        "bare_loose": rate([crop.pixels() for crop in loose], list),
        "bare_files": rate([crop.png for crop in framed], lambda files: list(map(decode, files))),
    }


def seconds_each(work: Callable[[], object], repeats: int) -> float:
    """Median seconds of one call, after five calls to warm up."""
    for _ in range(5):
        work()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def stages() -> dict[str, float]:
    """Microseconds of each stage for one crop, on the server core: mean over 2,000 crops.

    Of an append to the capture spool the median: a disk makes a mean of its rare pauses.
    """
    reader = Reader()
    figures: dict[str, float] = {}
    with pinned_to(SERVER_CORE):
        kinds = {"28": digit_crops.workload(28, 200), "128": digit_crops.workload(128, 200)}
        kinds["28_loose"] = [digit_crops.resized(crop, 28) for crop in digit_crops.load()]
        for kind, samples in kinds.items():
            pixels = [decode(crop.png) for crop in samples]
            figures[f"decode_us_{kind}"] = _microseconds(decode, [crop.png for crop in samples])
            figures[f"preprocess_us_{kind}"] = _microseconds(preprocess, pixels)
        framed = [decode(crop.png) for crop in kinds["28"]]
        batches = [framed[start : start + 32] for start in range(0, 192, 32)]
        figures["preprocess_us_28_of_32"] = _microseconds(frame_many, batches) / 32
        for size in (1, 8, 32, 64):
            batch: NDArray[np.float32] = np.stack([preprocess(crop) for crop in framed[:size]])
            each = seconds_each(functools.partial(reader.classifier, batch), 200)
            figures[f"inference_us_batch_{size}"] = 1e6 * each / size
        for timing in appends.run(folder=None):
            figures[f"append_us_{timing.crop_side_px}"] = timing.median_us
    return figures


def _microseconds(stage: Callable[[Any], object], inputs: list[Any]) -> float:
    """Best of five passes, so that another process's turn on the core does not count."""
    passes = NUM_MICRO // len(inputs)

    def once() -> None:
        for _ in range(passes):
            for one in inputs:
                stage(one)

    times = []
    for _ in range(5):
        begun = time.perf_counter()
        once()
        times.append(time.perf_counter() - begun)
    return 1e6 * min(times) / (passes * len(inputs))


def start_and_memory(server: Server, config: BenchConfig) -> dict[str, float]:
    """Seconds to the first /readyz 200 (second start: files are in memory), and memory.

    Memory is read when so many requests were answered; the growth between is what leaks.
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
    requests = [server.request(crop.png) for crop in digit_crops.workload(28, 20)]
    figures: dict[str, float] = {"rss_mb_start": tree.memory().rss_bytes / 1e6}
    answered = 0
    for mark in MEMORY_MARKS:
        while answered < mark:
            answered += wrk.saturate(port, requests, connections=32, duration_s=1).requests
        memory = tree.memory()
        figures[f"rss_mb_{mark}"] = memory.rss_bytes / 1e6
        figures[f"pss_mb_{mark}"] = memory.pss_bytes / 1e6
    return figures
