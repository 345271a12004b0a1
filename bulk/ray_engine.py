"""Engine `ray`: the same shard function on Ray Data, one actor for each CPU of the cluster.

The only importer of ray, which is an extra (`requirements-bulk.txt`).
"""

from __future__ import annotations

import logging
import os
import pickle
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else ray reports its use when imported

import ray

from bulk.inputs import Shard
from bulk.shard_reading import ShardDone, ShardReader, Task

# Shards that are handed to Ray together. Each data set waits for its last shard, so it has many.
_PER_CPU: Final = 64
_MOST: Final = 1024
_PACKAGES: Final = ("bulk", "capture", "contract", "model")
_PATIENCE_S: Final = 60.0

_log = logging.getLogger(__name__)


class ReadShard:
    """An actor of Ray Data: one row in, one row out."""

    def __init__(self, task: Task) -> None:
        self._reader = ShardReader(task)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Read the shard of a row."""
        done = self._reader.read(pickle.loads(row["shard"]))  # noqa: S301 - our own
        return {"done": pickle.dumps(done)}


def read_on_ray(task: Task, shards: Iterator[Shard], workers: int | None) -> Iterator[ShardDone]:
    """Read shards on the cluster of RAY_ADDRESS, or on one that is started on this machine.

    Waits for CPUs that others hold, and warns while it does.

    Args:
        task: of the job; its output must be reachable from every node.
        shards: asked for when the ones before are read.
        workers: actors; None: one for each CPU of the cluster.
    """
    started = not ray.is_initialized()
    if started:
        ray.init(runtime_env=_code(), log_to_driver=False, logging_level="error")
    for name in ("ray", "ray.data"):  # Ray sets their levels when it is imported
        logging.getLogger(name).setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    actors = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    try:
        yield from _warned_when_idle(_read(task, shards, actors))
    finally:
        if started:
            ray.shutdown()


def _read(task: Task, shards: Iterator[Shard], actors: int) -> Iterator[ShardDone]:
    while rows := _rows(shards, min(_MOST, _PER_CPU * actors)):
        pool = ray.data.ActorPoolStrategy(size=min(actors, len(rows)))
        read = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            ReadShard, fn_constructor_args=(task,), compute=pool, num_cpus=1
        )
        for row in read.iter_rows():
            yield pickle.loads(row["done"])  # noqa: S301 - our own


def _warned_when_idle(done: Iterator[ShardDone]) -> Iterator[ShardDone]:
    """The same; Ray waits without a word, for ever where nobody frees a CPU."""
    progress, ended = threading.Event(), threading.Event()

    def watch() -> None:
        while not ended.wait(_PATIENCE_S):
            if not progress.is_set():
                _log.warning(_idle())
            progress.clear()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        for one in done:
            progress.set()
            yield one
    finally:
        ended.set()
        watcher.join(_PATIENCE_S)


def _idle() -> str:
    has, free = (
        found.get("CPU", 0.0) for found in (ray.cluster_resources(), ray.available_resources())
    )
    return (
        f"no shard was read for {_PATIENCE_S:.0f} s. The cluster has {has:g} CPUs, {free:g} are "
        "free; a worker needs a whole one of one node. `ray status` tells who holds them and which "
        "nodes are there; add nodes or wait"
    )


def _code() -> dict[str, list[str]]:
    """Our packages, sent to the nodes of a cluster; a cluster of this machine alone finds them."""
    if "RAY_ADDRESS" not in os.environ:
        return {}
    root = Path(__file__).parents[1]
    return {"py_modules": [str(root / name) for name in _PACKAGES]}


def _rows(shards: Iterator[Shard], number: int) -> list[dict[str, bytes]]:
    return [{"shard": pickle.dumps(shard)} for shard in islice(shards, number)]
