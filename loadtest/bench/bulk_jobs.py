"""Part `bulk` of the benchmark: jobs of `python -m bulk`, beside the same work in a bare loop.

Shares of the bare loop are of processor time, which other processes on the machine disturb less
than the clock: each job in this process with one worker, survey and files included, right after the
loop on the same crops. Engines are compared by the clock, in turn.
"""

import contextlib
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bulk.choose_source import choose_source
from bulk.inputs import AT_ONCE
from bulk.job import JobOptions
from bulk.local_pool import read_here
from bulk.run import Engine, run_job
from bulk.shard_reading import Task
from capture.store import open_store
from loadtest import digit_crops
from loadtest.bench import crop_sets, ray_jobs
from loadtest.bench.contender import BenchConfig
from loadtest.bench.peers.same_work import Reader
from model import artifact
from model.decode import decode
from model.framed import Framed
from model.preprocess import frame_many

NUM_DISTINCT: Final = 200
SHARD_ROWS: Final = 10_000  # the default
ENGINE_SHARD_ROWS: Final = 2_000  # many shards for each worker of a short job
ROUNDS_OF: Final = {True: 2, False: 5}  # quick, else
JOB_CROPS: Final = {True: 10_000, False: 20_000}
FEW_CROPS: Final = 4_000  # a job whose time is mostly the engine's start
ENGINE_CROPS: Final = 120_000  # a process reads them in 12 s

Inputs = tuple[str, list[Any]]  # a job's source, and the same crops in memory


def bulk_jobs(config: BenchConfig) -> dict[str, Any]:
    """Shares of the bare loop for three sources; crops a second of the engines."""
    quick = config.rounds == 1
    rounds = ROUNDS_OF[quick]
    with tempfile.TemporaryDirectory(prefix="bulk-", dir=config.folder) as name:
        folder = Path(name)
        sources = _sources(folder, JOB_CROPS[quick])
        rows: dict[str, Any] = {
            name: _median_of([_against_bare(folder, *sources[name]) for _ in range(rounds)])
            for name in sources
        }
        few = _parquet_files(folder / "few", FEW_CROPS)
        many = _parquet_files(folder / "many", ENGINE_CROPS)
        engines = _engines()
        with _unpinned(), contextlib.ExitStack() as stack:
            absent = ray_jobs.start(stack)
            if not absent:
                engines |= ray_jobs.engines(_job)
            taken = [_time_engines(folder, few, many, engines) for _ in range(max(1, rounds // 2))]
    rows["engines"] = _median_of(taken)
    return {"rows": rows, "absent": absent}


def _median_of(rounds: list[dict[str, float]]) -> dict[str, Any]:
    return {
        name: {
            "median": statistics.median(one[name] for one in rounds),
            "rounds": [round(one[name], 3) for one in rounds],
        }
        for name in rounds[0]
    }


def _sources(folder: Path, number: int) -> dict[str, Inputs]:
    """What is read: 28 px crops in MNIST's frame, and files as scanners send them."""
    arrays = _pixels(number)
    framed = digit_crops.workload(28, NUM_DISTINCT)
    scanned = crop_sets.make(crop_sets.SCANNED, NUM_DISTINCT)
    files = [framed[place % NUM_DISTINCT].png for place in range(number)]
    pq.write_table(pa.table({"crop": files}), folder / "bytes.parquet", row_group_size=SHARD_ROWS)
    sources: dict[str, Inputs] = {
        "parquet_files": (str(folder / "bytes.parquet"), files),
        "parquet_arrays": (str(_parquet(folder / "arrays.parquet", number)), list(arrays)),
    }
    for name, crops in (("files_28", framed), ("files_scanned", scanned)):
        (folder / name).mkdir()
        chosen = [crops[place % NUM_DISTINCT] for place in range(number)]
        for place, crop in enumerate(chosen):
            ending = crop.media_type.partition("/")[2]
            (folder / name / f"{place:06d}.{ending}").write_bytes(crop.png)
        sources[name] = (str(folder / name), [crop.png for crop in chosen])
    return sources


def _pixels(number: int) -> NDArray[np.uint8]:
    distinct = np.stack([crop.pixels() for crop in digit_crops.workload(28, NUM_DISTINCT)])
    return np.resize(distinct, (number, 28, 28))


def _parquet(path: Path, number: int) -> Path:
    flat = pa.array(_pixels(number).reshape(-1))
    table = pa.table({"crop": pa.FixedSizeListArray.from_arrays(flat, 28 * 28)})
    pq.write_table(table, path, row_group_size=ENGINE_SHARD_ROWS)
    return path


def _parquet_files(folder: Path, number: int) -> Path:
    """A file for each shard: Ray Data's own reader gives an actor whole files."""
    folder.mkdir()
    for place in range(number // ENGINE_SHARD_ROWS):
        _parquet(folder / f"{place:03d}.parquet", ENGINE_SHARD_ROWS)
    return folder


def _against_bare(folder: Path, source: str, inputs: list[Any]) -> dict[str, float]:
    """Processor time of a crop in a bare loop and in a job, in microseconds; and their ratio."""
    bare_s = _cpu_s(partial(_bare_loop, inputs))
    one = partial(read_here, workers=1)
    job_s = _cpu_s(partial(_job, Path(source), folder / "out", one, SHARD_ROWS))
    each = 1e6 / len(inputs)
    return {"bare_us": each * bare_s, "job_us": each * job_s, "share": bare_s / job_s}


def _cpu_s(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def _bare_loop(inputs: list[Any]) -> None:
    """Decode, frame and infer in the job's batches; answers are dropped."""
    reader = Reader()
    for start in range(0, len(inputs), AT_ONCE):
        some = inputs[start : start + AT_ONCE]
        pixels = [decode(one) if isinstance(one, bytes) else one for one in some]
        framed = [one.image for one in frame_many(pixels) if isinstance(one, Framed)]
        reader.classifier(np.concatenate(framed)[:, np.newaxis])


def _job(source: Path, out: Path, engine: Engine, shard_rows: int = ENGINE_SHARD_ROWS) -> None:
    shutil.rmtree(out, ignore_errors=True)
    options = JobOptions(
        str(source), shard_rows, None, None, None, keep_input=False, error_target=None
    )
    task = Task(str(out), artifact.load(), None, keep_input=False)
    report = run_job(
        options, choose_source(options, None, None), task, open_store(str(out)), engine
    )
    assert report.is_whole, report.failures


def _engines() -> dict[str, ray_jobs.Run]:
    def local(workers: int) -> ray_jobs.Run:
        return partial(_job, engine=partial(read_here, workers=workers))

    return {"one_process": local(1), "two_processes": local(2)}


def _time_engines(
    folder: Path, few: Path, many: Path, engines: dict[str, ray_jobs.Run]
) -> dict[str, float]:
    """Crops a second of each engine by the clock: a long job's time less a short one's.

    So an engine's start, seconds for Ray, is left out; that of its first job is given beside the
    rate. The short job is timed when it runs again, twice: Ray's first one starts its workers, and
    a later one takes a second more or less.
    """
    more = ENGINE_SHARD_ROWS * len(list(many.iterdir())) - FEW_CROPS
    figures = {}
    for name, engine in engines.items():
        first_s, *short_s, long_s = (
            _clock_s(engine, source, folder / name) for source in (few, few, few, many)
        )
        figures[name] = more / max(long_s - min(short_s), 1e-3)
        figures[f"{name}_start_s"] = max(first_s - FEW_CROPS / figures[name], 0.0)
    return figures


def _clock_s(engine: ray_jobs.Run, source: Path, out: Path) -> float:
    begun = time.perf_counter()
    engine(source, out)
    return time.perf_counter() - begun


@contextlib.contextmanager
def _unpinned() -> Iterator[None]:
    """All cores for this process and those it starts; the benchmark pins itself to one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
