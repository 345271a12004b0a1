"""What a job would take: counted, and timed on a sample of its first inputs. Writes nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from bulk.crop_reading import CropReader
from bulk.inputs import Shard, Skipped, Source, SourceError, survey
from bulk.parts import to_rows
from bulk.shard_reading import Task
from contract.compute_prices import AS_OF, FARGATE_GB_H, FARGATE_VCPU_H
from model.classifier import Classifier

SAMPLE_S: Final = 2.0
SAMPLE_INPUTS: Final = 2_000
GB_PER_VCPU: Final = 2.0  # the least memory that Fargate sells with one vCPU


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job would take."""

    inputs: int
    shards: int
    skipped: int
    num_bytes: int
    sampled: int
    seconds_each: float  # of one input on one core
    workers: int

    @property
    def core_hours(self) -> float:
        """Time of all cores."""
        return self.inputs * self.seconds_each / 3600

    @property
    def wall_s(self) -> float:
        """From start to end."""
        return self.inputs * self.seconds_each / self.workers

    @property
    def usd(self) -> float:
        """At Fargate's list price of a vCPU with 2 GB."""
        return self.core_hours * (FARGATE_VCPU_H + GB_PER_VCPU * FARGATE_GB_H)

    @property
    def priced(self) -> str:
        """Which price it is."""
        return f"Fargate's list price of {AS_OF}, a vCPU with {GB_PER_VCPU:g} GB"


def estimate(source: Source, task: Task, workers: int) -> Estimate:
    """Count a source, and read its first inputs on this core.

    Raises:
        OSError, SourceError: it cannot be read, or has no crops.
    """
    surveyed = survey(source)
    first = next(iter(source.shards(lambda index: index == 0, Skipped())), None)
    if first is None:
        raise SourceError(f"the source has no crops; {surveyed.skipped.number} files skipped")
    sampled, seconds = _time_sample(first, task)
    return Estimate(
        inputs=surveyed.num_inputs,
        shards=surveyed.num_shards,
        skipped=surveyed.skipped.number,
        num_bytes=surveyed.num_bytes,
        sampled=sampled,
        seconds_each=seconds / max(sampled, 1),
        workers=workers,
    )


def _time_sample(shard: Shard, task: Task) -> tuple[int, float]:
    """Inputs read, and the seconds that they took, the model's first batch left out."""
    assert shard.content is not None, "the shard was wanted"
    classifier = Classifier(task.artifact.onnx_bytes)
    classifier.warm_up()
    reader = CropReader(classifier, task.artifact.policy(task.error_target))
    sampled, begun = 0, time.perf_counter()
    for inputs in shard.content.chunks():
        answers = reader.read(inputs.crops)
        kept = inputs.crops if task.keep_input else None
        to_rows(inputs.names, answers, task.artifact.version, kept)
        sampled += len(inputs.names)
        if sampled >= SAMPLE_INPUTS or time.perf_counter() - begun > SAMPLE_S:
            break
    return sampled, time.perf_counter() - begun
