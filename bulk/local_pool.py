"""Engine `local`: a process for each core of this machine, at most two shards waiting for each."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from bulk.inputs import Shard
from bulk.shard_reading import ShardDone, ShardReader, Task

_reader: ShardReader | None = None  # of a worker process


class WorkerDied(RuntimeError):
    """A worker process ended: killed, or out of memory. What was written stays."""


def read_here(task: Task, shards: Iterator[Shard], workers: int) -> Iterator[ShardDone]:
    """Read shards in any order. A new one is asked for only when one is done.

    Raises:
        WorkerDied: a worker process ended.
    """
    if workers == 1:
        reader = ShardReader(task)
        yield from map(reader.read, shards)
        return
    context = multiprocessing.get_context("spawn")  # forked, onnxruntime's threads would be missing
    with ProcessPoolExecutor(workers, context, _start, (task,)) as pool:
        try:
            yield from _keep_busy(pool, shards, 2 * workers)
        except BrokenProcessPool as error:
            raise WorkerDied(
                "a worker process ended, killed or out of memory; run the same command again to "
                "go on, with fewer --workers if memory is short"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _keep_busy(
    pool: ProcessPoolExecutor, shards: Iterator[Shard], most: int
) -> Iterator[ShardDone]:
    running: set[Future[ShardDone]] = set()
    for shard in shards:
        running.add(pool.submit(_read, shard))
        if len(running) >= most:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (one.result() for one in done)
    while running:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        yield from (one.result() for one in done)


def _start(task: Task) -> None:
    """In a new worker: make the model's session, end with the parent.

    Ctrl-C is the parent's: it lets workers end the shards that they are reading.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    global _reader  # noqa: PLW0603 - a worker process has one reader
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent"

    def end_with_parent() -> None:
        with contextlib.suppress(OSError):
            parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    _reader = ShardReader(task)


def _read(shard: Shard) -> ShardDone:
    assert _reader is not None, "the worker was not started by _start"
    return _reader.read(shard)
