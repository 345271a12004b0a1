"""Part `stages` of the benchmark: the time of each stage for one crop, in one thread."""

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from capture import spool_bench
from loadtest import digit_crops, scanned_crops
from loadtest.bench.peers.same_work import Reader
from loadtest.process import pinned_to
from loadtest.servers import SERVER_CORE
from model.decode import decode
from model.preprocess import frame_many, preprocess

NUM_CROPS: Final = 2000


def seconds_each(work: Callable[[], object], repeats: int) -> float:
    """Median seconds of a call, after five warm-up calls."""
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

    An append to the capture spool is given as a median, because rare pauses of the disk would
    dominate its mean.
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
        for file_format in ("PNG", "JPEG"):
            noisy = scanned_crops.noisy(128, 200, file_format=file_format)
            key = f"decode_us_noisy_128_{file_format.lower()}"
            figures[key] = _microseconds(decode, [crop.png for crop in noisy])
        framed = [decode(crop.png) for crop in kinds["28"]]
        batches = [framed[start : start + 32] for start in range(0, 192, 32)]
        figures["preprocess_us_28_of_32"] = _microseconds(frame_many, batches) / 32
        for size in (1, 8, 32, 64):
            batch: NDArray[np.float32] = np.stack([preprocess(crop) for crop in framed[:size]])
            each = seconds_each(functools.partial(reader.classifier, batch), 200)
            figures[f"inference_us_batch_{size}"] = 1e6 * each / size
        for timing in spool_bench.run(folder=None):
            figures[f"append_us_{timing.crop_side_px}"] = timing.median_us
    return figures


def _microseconds(stage: Callable[[Any], object], inputs: list[Any]) -> float:
    """Best of five passes, which excludes interruptions by other processes."""
    passes = NUM_CROPS // len(inputs)

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
