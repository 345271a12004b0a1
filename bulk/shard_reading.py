"""One shard, from inputs to its part: what every engine runs, in whatever process.

Edge: reads the source, writes the part.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import pyarrow as pa

from bulk.crop_reading import CropReader
from bulk.inputs import Shard
from bulk.parts import INPUT, SCHEMA, Counts, to_rows, write_part
from capture.store import open_store
from model.artifact import Artifact
from model.classifier import Classifier


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker needs to know to read any shard of a job."""

    out: str  # folder or s3://bucket/prefix
    artifact: Artifact
    error_target: float | None
    keep_input: bool


@dataclass(frozen=True, slots=True)
class ShardDone:
    """What became of a shard."""

    index: int
    num_inputs: int
    counts: Counts
    cpu_s: float
    failure: str | None = None  # it could not be read or written; no part was left


class ShardReader:
    """Reads shards in this process. Makes the model's session once."""

    def __init__(self, task: Task) -> None:
        pa.set_cpu_count(1)  # the other cores have workers of their own
        self._task = task
        self._store = open_store(task.out)
        policy = task.artifact.policy(task.error_target)
        self._reader = CropReader(Classifier(task.artifact.onnx_bytes), policy)

    def read(self, shard: Shard) -> ShardDone:
        """Read a shard and write its part; a failure of the source or the output is a value."""
        started = time.process_time()
        try:
            counts = self._write(shard)
        except Exception as error:  # noqa: BLE001 - of any kind: it costs its own shard only
            failure = f"shard {shard.index}: {type(error).__name__}: {error}"
            return ShardDone(shard.index, shard.num_inputs, Counts(), 0.0, failure)
        cpu_s = time.process_time() - started
        return ShardDone(shard.index, shard.num_inputs, counts, cpu_s)

    def _write(self, shard: Shard) -> Counts:
        assert shard.content is not None, f"shard {shard.index} was not wanted"
        batches, left_out = [], 0
        for inputs in shard.content.chunks():
            left_out += inputs.num_left_out
            if not inputs.names:
                continue
            answers = self._reader.read(inputs.crops)
            kept = inputs.crops if self._task.keep_input else None
            batches.append(to_rows(inputs.names, answers, self._task.artifact.version, kept))
        schema = SCHEMA.append(INPUT) if self._task.keep_input else SCHEMA
        return write_part(self._store, shard.index, batches, schema, left_out)
