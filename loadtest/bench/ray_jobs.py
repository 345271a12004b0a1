"""Ray in part `bulk` of the benchmark: a local cluster of two nodes, our job on it, naive jobs.

Ray is an extra (`requirements-bulk.txt`); without it the rest of the part is measured.
"""

import contextlib
import importlib.util
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from bulk.run import Engine
from loadtest.bench.peers.same_work import Reader
from model.preprocess import preprocess

# A node has one CPU, and Ray's tasks that list, read and write want a whole one. Were two actors to
# hold half a CPU each, no node would have a whole one left, and the job would wait for ever.
ACTOR_CPUS: Final = 0
BLOCKS: Final = 8  # Ray Data reads small files as one block, which one actor would take
FIELDS: Final = ("digit", "confidence", "accepted")
Run = Callable[[Path, Path], None]  # from a source to an output


def start(stack: contextlib.ExitStack) -> dict[str, str]:
    """Start two nodes of one CPU each on this machine; returns who cannot take part, and why."""
    if importlib.util.find_spec("ray") is None:
        return {"ray": "not installed; pip install -r requirements-bulk.txt"}
    import logging

    os.environ.setdefault("RAY_worker_niceness", "0")  # as the processes it is compared with
    import ray
    from ray.cluster_utils import Cluster

    logging.getLogger("ray").setLevel(logging.ERROR)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    stack.callback(cluster.shutdown)
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    stack.callback(ray.shutdown)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return {}


def engines(job: Callable[[Path, Path, Engine], None]) -> dict[str, Run]:
    """Our job on the cluster, and Ray Data as its documentation shows it: a map, and batches."""
    from bulk.ray_engine import read_on_ray

    def ours(source: Path, out: Path) -> None:
        job(source, out, partial(read_on_ray, workers=None))

    return {"ray_ours": ours, "ray_map": _naive, "ray_batches": _batches}


class _ReadOne:
    """One crop a call: what a first version with Ray Data looks like."""

    def __init__(self) -> None:
        self._reader = Reader()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        crop = np.asarray(row["crop"], np.uint8).reshape(28, 28)
        return _answer(self._reader, crop[np.newaxis])[0]


class _ReadBatch(_ReadOne):
    """The same on batches of 256."""

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        crops = np.stack(row["crop"]).astype(np.uint8).reshape(-1, 28, 28)
        answers = _answer(self._reader, crops)
        return {name: [one[name] for one in answers] for name in FIELDS}


def _answer(reader: Reader, crops: Any) -> list[dict[str, Any]]:
    batch = np.stack([preprocess(crop) for crop in crops])
    return [{name: one[name] for name in FIELDS} for one in reader.answers(batch)]


def _naive(source: Path, out: Path) -> None:
    import ray

    shutil.rmtree(out, ignore_errors=True)
    pool = ray.data.ActorPoolStrategy(size=2)
    found = ray.data.read_parquet(str(source)).repartition(BLOCKS)
    read = found.map(_ReadOne, compute=pool, num_cpus=ACTOR_CPUS)
    read.write_parquet(str(out))


def _batches(source: Path, out: Path) -> None:
    import ray

    shutil.rmtree(out, ignore_errors=True)
    pool = ray.data.ActorPoolStrategy(size=2)
    found = ray.data.read_parquet(str(source)).repartition(BLOCKS)
    read = found.map_batches(_ReadBatch, compute=pool, num_cpus=ACTOR_CPUS, batch_size=256)
    read.write_parquet(str(out))
