"""A job from survey to report: which shards are wanted, who reads them, what came out."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Final

from bulk.inputs import Shard, Skipped, Source, SourceError, Survey, Tally, survey
from bulk.job import REPORT, SKIPPED, JobOptions, claim, describe
from bulk.parts import Counts, read_counts
from bulk.progress import Progress
from bulk.shard_list import ShardList
from bulk.shard_reading import ShardDone, Task
from capture.store import Store

Engine = Callable[[Task, Iterator[Shard]], Iterator[ShardDone]]

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for its start


@dataclass(frozen=True, slots=True)
class Report:
    """What came out of a job, over all of its runs; `_report.json` beside the parts."""

    inputs: int
    shards: int
    skipped: int
    counts: Counts
    resumed_shards: int  # that an earlier run had read
    wall_s: float  # of this run
    cpu_s: float  # of this run's workers
    failures: list[str]

    @property
    def is_whole(self) -> bool:
        """Whether every input has its row."""
        return not self.failures


def run_job(options: JobOptions, source: Source, task: Task, out: Store, engine: Engine) -> Report:
    """Read what an earlier run has not read.

    Raises:
        JobRefused: the output is another job's.
        SourceError: the source changed meanwhile.
        OSError: source or output failed.
    """
    begun = time.monotonic()
    with contextlib.closing(ShardList()) as kept:
        surveyed = survey(source, kept.add if source.lists_once else None)
        if not surveyed.num_inputs:
            number = surveyed.skipped.number
            raise SourceError(f"{options.source} has no crops; {number} files skipped")
        there = claim(out, describe(options, source, surveyed, task.artifact))
        counts = Counts()
        for index in sorted(there):
            counts += read_counts(out, index)
        _write_skipped(out, surveyed.skipped)
        listed = kept if source.lists_once else _listed_anew(source, surveyed, there)
        wanted = (shard for shard in listed if shard.index not in there)
        cpu_s, failures = 0.0, []
        with Progress(surveyed.num_inputs, counts.rows + counts.left_out) as progress:
            for done in engine(task, wanted):
                counts += done.counts
                cpu_s += done.cpu_s
                failures += [done.failure] if done.failure else []
                progress.add(done.num_inputs, done.counts.errors)
    report = Report(
        inputs=surveyed.num_inputs,
        shards=surveyed.num_shards,
        skipped=surveyed.skipped.number,
        counts=counts,
        resumed_shards=len(there),
        wall_s=time.monotonic() - begun,
        cpu_s=cpu_s,
        failures=failures,
    )
    content = json.dumps(asdict(report), indent=1).encode()
    out.put(REPORT, content, content_type="application/json")
    return report


def _listed_anew(source: Source, surveyed: Survey, there: set[int]) -> Iterator[Shard]:
    """The shards again, with content where it is wanted; the source must be as it was surveyed."""
    tally, skipped = Tally(), Skipped()
    for shard in source.shards(lambda index: index not in there, skipped):
        tally.add(shard)
        yield shard
    again = tally.survey(skipped)
    if again.fingerprint != surveyed.fingerprint:
        raise SourceError(
            f"the source changed while it was read: {surveyed.num_inputs} inputs before, "
            f"{again.num_inputs} now, or other files; its parts do not fit together. Read it "
            "again into an empty folder"
        )


def as_text(name: str) -> str:
    """A name that no spreadsheet takes for a formula: names come from whoever packed the source.

    Source:
        OWASP, "CSV Injection".
    """
    return f"'{name}" if name.startswith(_FORMULA) else name


def _write_skipped(out: Store, skipped: Skipped) -> None:
    """The first 10,000 names of what is no input, and how many there are."""
    if not skipped.number:
        return
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["name", "why"])
    writer.writerows((as_text(name), why) for name, why in skipped.listed)
    if skipped.number > len(skipped.listed):
        writer.writerow([f"{skipped.number - len(skipped.listed)} more", "not listed"])
    content = text.getvalue().encode(errors="backslashreplace")
    out.put(SKIPPED, content, content_type="text/csv")
