"""Memory and back-pressure do not depend on the size of a job; a dry run tells its time."""

import contextlib
import hashlib
import os
import subprocess
import sys
import tracemalloc
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from bulk_sources import ROOT, folder_of, options_of, parquet_of, run_command

from bulk.dry_run import estimate
from bulk.folder_source import PictureFiles
from bulk.inputs import Inputs, Shard, survey
from bulk.local_pool import read_here
from bulk.progress import Progress, duration
from bulk.run import run_job
from bulk.shard_list import ShardList
from bulk.shard_reading import Task
from capture.store import open_store
from infra import prices
from model import artifact

# Reads N made rows in a process of its own; prints its peak and that of its largest worker, in kB.
JOB = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from test_bulk_size import read_made
read_made(int(sys.argv[2]), sys.argv[3], sys.argv[4])
for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
    print(resource.getrusage(who).ru_maxrss)
"""


@dataclass(frozen=True, slots=True)
class MadeRows:
    """A shard whose crops are made when they are read."""

    first: int
    num_rows: int

    def chunks(self):
        rng = np.random.default_rng(self.first)
        for start in range(self.first, self.first + self.num_rows, 250):
            crops = np.zeros((250, 28, 28), np.uint8)
            crops[:, 4:24, 4:24] = rng.integers(0, 256, (250, 20, 20))
            yield Inputs([f"row {number}" for number in range(start, start + 250)], list(crops))


@dataclass(frozen=True, slots=True)
class MadeSource:
    num_rows: int
    shard_rows: int = 10_000
    kind: str = "made"
    lists_once: bool = True

    def shards(self, is_wanted, skip):
        for index, first in enumerate(range(0, self.num_rows, self.shard_rows)):
            content = MadeRows(first, self.shard_rows) if is_wanted(index) else None
            digest = hashlib.sha256(str(first).encode()).hexdigest()
            yield Shard(index, self.shard_rows, 784 * self.shard_rows, digest, content)


def read_made(num_rows, out, champion):
    task = Task(out, artifact.load(Path(champion)), None, False)
    report = run_job(
        options_of("made"),
        MadeSource(num_rows),
        task,
        open_store(out),
        partial(read_here, workers=2),
    )
    assert report.counts.rows == num_rows


def peaks_mb(num_rows, out, champion):
    done = subprocess.run(
        [sys.executable, "-c", JOB, *map(str, (Path(__file__).parent, num_rows, out, champion))],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        capture_output=True, text=True, check=False, timeout=7200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [int(line) / 1024 for line in done.stdout.split()]


@pytest.mark.nightly
def test_memory_does_not_grow_with_the_rows(tmp_path, tiny_champion):
    small = peaks_mb(20_000, tmp_path / "small", tiny_champion)
    large = peaks_mb(120_000, tmp_path / "large", tiny_champion)
    for before, after in zip(small, large, strict=True):
        assert after < before + 25


@pytest.mark.nightly
def test_five_million_rows_need_no_more_memory_than_forty_thousand(tmp_path, tiny_champion):
    small = peaks_mb(40_000, tmp_path / "small", tiny_champion)
    large = peaks_mb(5_000_000, tmp_path / "large", tiny_champion)
    for before, after in zip(small, large, strict=True):
        assert after < before + 40


def test_a_survey_of_five_million_rows_holds_no_shard():
    surveyed = survey(MadeSource(5_000_000))
    assert (surveyed.num_inputs, surveyed.num_shards) == (5_000_000, 500)


def test_the_list_of_many_files_is_no_matter_of_memory():
    names = b"folder/0000001.png\x0012345-1700000000000000000\x00" * 10_000
    with contextlib.closing(ShardList()) as kept:
        tracemalloc.start()
        for index in range(100):  # a million files
            kept.add(Shard(index, 10_000, 1, "", PictureFiles("in", names + b"%d" % index)))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 30e6 < 100 * len(names)
        assert [shard.index for shard in kept] == list(range(100))


def test_shards_are_made_only_when_workers_have_time(tmp_path, tiny_champion):
    """The lead of the listing over the reading is four shards for two workers."""
    made, done, leads = [], [], []

    class Watched(MadeSource):
        __slots__ = ()

        def shards(self, is_wanted, skip):
            for shard in super().shards(is_wanted, skip):
                made.append(shard.index)
                leads.append(len(made) - len(done))
                yield shard

    task = Task(str(tmp_path), artifact.load(tiny_champion), None, False)
    source = Watched(5_000, 250)
    shards = source.shards(lambda _: True, lambda *_: None)
    for one in read_here(task, shards, 2):
        done.append(one.index)  # noqa: PERF401 - the listing looks at it meanwhile
    assert sorted(done) == list(range(20))
    assert max(leads) <= 4


def test_a_dry_run_tells_count_size_time_and_cost_and_writes_nothing(crops, tmp_path):
    folder = folder_of(crops, tmp_path / "in")
    (folder / "notes.txt").write_text("no crop")
    done = run_command("read", folder, "--dry-run", "--workers", 2)
    assert done.returncode == 0, done.stderr
    assert "200 inputs (folder), 0.00 GB, 1 shards, 1 files skipped" in done.stdout
    assert "measured on 200" in done.stdout
    assert "USD at Fargate's list price" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_an_estimate_follows_from_the_sample(crops, tmp_path, tiny_champion):
    from bulk.choose_source import choose_source

    path = parquet_of(crops, tmp_path / "in.parquet")
    task = Task("", artifact.load(tiny_champion), None, False)
    found = estimate(choose_source(options_of(path), None, None), task, 4)
    assert found.wall_s == pytest.approx(200 * found.seconds_each / 4)
    hour = prices.FARGATE_VCPU_H + 2 * prices.FARGATE_GB_H
    assert found.usd == pytest.approx(200 * found.seconds_each / 3600 * hour)
    assert 0 < found.seconds_each < 1


class Written:
    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return False


def test_without_a_terminal_progress_is_a_line_now_and_then():
    now, out = [0.0], Written()
    progress = Progress(1000, 200, out=out, clock=lambda: now[0])
    for _ in range(4):
        now[0] += 10
        progress.add(100, 1)
    assert out.text == "500 of 1,000 crops, 10/s, 50 s left, 3 errors\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (99.4, "99 s"), (150, "2 min"), (12000, "3 h 20 min")]
)
def test_durations_are_for_people(seconds, text):
    assert duration(seconds) == text
