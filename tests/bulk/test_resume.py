"""A job that was killed goes on: one row for each input, and nothing of another job."""

import contextlib
import os
import signal
import subprocess
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from bulk_sources import ROOT, command, folder_of, parquet_of, read, rows_of, run_command

from bulk.inputs import Shard, SourceError
from bulk.job import JobRefused
from bulk.local_pool import WorkerDied, read_here
from bulk.shard_reading import Task
from model import artifact


class Deadly:
    """A shard that takes its worker along, as the kernel does when memory is short."""

    def chunks(self):
        os.kill(os.getpid(), signal.SIGKILL)
        yield


def test_a_worker_that_dies_is_a_clear_error(tmp_path, tiny_champion):
    task = Task(str(tmp_path), artifact.load(tiny_champion), None, keep_input=False)
    shards = iter([Shard(0, 1, 1, "", Deadly())])
    with pytest.raises(WorkerDied, match="run the same command again"):
        list(read_here(task, shards, 2))


class Stopped(Exception):
    pass


def stop_after(number, engine=partial(read_here, workers=1)):  # noqa: B008
    """An engine that fails after a number of shards."""

    def run(task, shards):
        for place, done in enumerate(engine(task, shards)):
            if place == number:
                raise Stopped
            yield done

    return run


def test_a_second_run_reads_only_what_is_missing(crops, tmp_path, tiny_champion):
    path = parquet_of(crops, tmp_path / "in.parquet", row_group_size=10)
    with pytest.raises(Stopped):
        read(path, tmp_path / "out", tiny_champion, shard_rows=20, engine=stop_after(3))
    first = {part: part.stat().st_mtime_ns for part in (tmp_path / "out").glob("part-*")}
    assert len(first) == 4
    report = read(path, tmp_path / "out", tiny_champion, shard_rows=20)
    assert (report.resumed_shards, report.shards) == (4, 10)
    assert all(part.stat().st_mtime_ns == written for part, written in first.items())
    assert [row["name"] for row in rows_of(tmp_path / "out")] == [crop.name for crop in crops]
    assert report.counts.rows == 200


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"keep_input": True}, "keep_input was False, is True"),
        ({"shard_rows": 50}, "shard_rows was 20, is 50"),
        ({"error_target": 0.5}, "error_target was None, is 0.5"),
    ],
)
def test_another_job_is_refused(change, text, crops, tmp_path, tiny_champion):
    path = parquet_of(crops, tmp_path / "in.parquet", row_group_size=10)
    read(path, tmp_path / "out", tiny_champion, shard_rows=20)
    with pytest.raises(JobRefused, match=text):
        read(path, tmp_path / "out", tiny_champion, **({"shard_rows": 20} | change))


def test_another_model_is_refused(crops, tmp_path, tiny_champion):
    folder = folder_of(crops[:9], tmp_path / "in")
    read(folder, tmp_path / "out", tiny_champion)
    with pytest.raises(JobRefused, match="model sha256 was"):
        read(folder, tmp_path / "out", artifact.CHAMPION)


@pytest.mark.parametrize("how", ["more", "other bytes", "fewer"])
def test_another_source_is_refused(how, crops, tmp_path, tiny_champion):
    folder = folder_of(crops[:9], tmp_path / "in")
    read(folder, tmp_path / "out", tiny_champion)
    if how == "more":
        (folder / "zz.png").write_bytes(crops[0].png)
    elif how == "fewer":
        (folder / crops[0].name).unlink()
    else:
        (folder / crops[0].name).write_bytes(crops[1].png)
    with pytest.raises(JobRefused, match="source fingerprint was"):
        read(folder, tmp_path / "out", tiny_champion)


def test_a_source_that_changes_while_it_is_read_is_an_error(crops, tmp_path, tiny_champion):
    (tmp_path / "in" / "below").mkdir(parents=True)
    parquet_of(crops[:150], tmp_path / "in" / "a.parquet", row_group_size=50)
    parquet_of(crops[150:], tmp_path / "in" / "below" / "b.parquet")

    def meddle(task, shards):
        for done in read_here(task, shards, 1):
            parquet_of(crops[:1], tmp_path / "in" / "below" / "z.parquet")
            yield done

    with pytest.raises(SourceError, match="changed while it was read: 200 inputs before, 201 now"):
        read(tmp_path / "in", tmp_path / "out", tiny_champion, engine=meddle)


def test_a_folder_with_other_files_is_refused(crops, tmp_path, tiny_champion):
    folder = folder_of(crops[:9], tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(JobRefused, match=r"has other files, such as thesis\.txt"):
        read(folder, tmp_path / "out", tiny_champion)


def test_two_runs_at_once_are_refused(crops, tmp_path, tiny_champion):
    folder = folder_of(crops[:9], tmp_path / "in")

    def again(task, shards):
        with pytest.raises(JobRefused, match="another run writes to"):
            read(folder, tmp_path / "out", tiny_champion)
        return read_here(task, shards, 1)

    assert read(folder, tmp_path / "out", tiny_champion, engine=again).counts.rows == 9


def job_of_many(crops, tmp_path, tiny_champion, num_rows):
    many = [crops[place % 200] for place in range(num_rows)]
    path = tmp_path / "in.parquet"
    parquet_of(many, path, row_group_size=100)
    return [
        "read", path, "--out", tmp_path / "out", "--champion", tiny_champion, "--workers", 2,
        "--shard-rows", 100,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "kills",
    [pytest.param(3, marks=pytest.mark.slow), pytest.param(30, marks=pytest.mark.nightly)],
)
def test_each_input_has_one_row_after_kills(kills, crops, tmp_path, tiny_champion):
    num_rows = 4_000 * kills
    arguments = job_of_many(crops, tmp_path, tiny_champion, num_rows)
    shards = num_rows // 100
    parts_seen = set()
    for kill in range(kills):
        process = subprocess.Popen(
            command(*arguments), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wanted = shards * (kill + 1) // (kills + 1)
        wait_for_parts(tmp_path / "out", wanted, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        parts_seen.add(len(list((tmp_path / "out").glob("part-*"))))
    assert len(parts_seen) == kills  # each run went on and none was whole
    assert max(parts_seen) < shards
    done = run_command(*arguments)
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "out")
    assert len(rows) == num_rows
    expected = Counter(crops[place % 200].name for place in range(num_rows))
    assert Counter(row["name"] for row in rows) == expected
    labels = {crop.name: crop.label for crop in crops}
    assert all(row["digit"] == labels[row["name"]] for row in rows)
    assert not list((tmp_path / "out").glob(".part-*"))


def wait_for_parts(out, number, process):
    while len(list(out.glob("part-*"))) < number:
        assert process.poll() is None, "the job ended before it was killed"
        time.sleep(0.005)


@pytest.mark.slow
def test_workers_end_with_their_parent(crops, tmp_path, tiny_champion):
    arguments = job_of_many(crops, tmp_path, tiny_champion, 40_000)
    mark = f"BULK_TEST={tmp_path}"
    name, value = mark.split("=")
    process = subprocess.Popen(
        command(*arguments), cwd=ROOT, env={**os.environ, name: value},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for_parts(tmp_path / "out", 3, process)
    assert len(marked(mark)) >= 3
    process.send_signal(signal.SIGKILL)
    process.wait()
    for _ in range(500):
        if not marked(mark):
            return
        time.sleep(0.02)
    pytest.fail(f"workers outlive their parent: {marked(mark)}")


def marked(mark):
    """Processes with the mark in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (entry / "environ").read_bytes():
                found.append(entry.name)
    return found
