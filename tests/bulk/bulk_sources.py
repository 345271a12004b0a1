"""Sources of the shipped crops, in every kind, and a job run in this process."""

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bulk.answer_columns import ACCEPTED, REJECTIONS
from bulk.choose_source import choose_source
from bulk.job import JobOptions, locked
from bulk.local_pool import read_here
from bulk.run import run_job
from bulk.shard_reading import Task
from capture.store import open_store
from model import artifact
from model.decision import BLANK, Decision
from model.preprocess import preprocess

ROOT = Path(__file__).parents[2]


def options_of(source, **changes):
    known = {
        "source": str(source), "shard_rows": 64, "days": None, "crop_column": None,
        "name_column": None, "keep_input": False, "error_target": None,
    }  # fmt: skip
    return JobOptions(**(known | changes))


def read(
    source,
    out,
    champion,
    *,
    kind=None,
    days=None,
    workers=1,
    engine=None,
    may_fail=False,
    **changes,
):
    """Run a job here; returns its report."""
    options = options_of(source, **changes)
    task = Task(str(out), artifact.load(champion), options.error_target, options.keep_input)
    engine = engine or partial(read_here, workers=workers)
    chosen = choose_source(options, kind, days)
    with locked(str(out)):
        report = run_job(options, chosen, task, open_store(str(out)), engine)
    assert may_fail or not report.failures, report.failures
    return report


def rows_of(out):
    """The answers, in the order of the parts."""
    return [
        row for part in sorted(Path(out).glob("part-*")) for row in pq.read_table(part).to_pylist()
    ]


def folder_of(crops, path):
    """The crops as files, half of them in a folder below."""
    for place, crop in enumerate(crops):
        file = path / ("below" if place % 2 else ".") / crop.name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(crop.png)
    return path


def framed(crops):
    """(N, 28, 28) uint8: the crops in MNIST's frame."""
    images = np.concatenate([preprocess(crop.pixels) for crop in crops])
    return (images * 255).round().astype(np.uint8)


def parquet_of(crops, path, *, column="crop", arrays=None, row_group_size=None):
    """The crops as bytes, or as arrays that `arrays` makes of (N, 28, 28)."""
    values = [crop.png for crop in crops]
    if arrays is not None:
        values = arrays(framed(crops))
    table = pa.table({"name": [crop.name for crop in crops], column: values})
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def tar_of(crops, path, mode="w"):
    with tarfile.open(path, mode) as tar:
        for crop in crops:
            info = tarfile.TarInfo(crop.name)
            info.size = len(crop.png)
            tar.addfile(info, io.BytesIO(crop.png))
    return path


def zip_of(crops, path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for crop in crops:
            packed.writestr(crop.name, crop.png)
    return path


def outcomes_of(answers):
    """A Decision or an error for each input."""
    outcomes = [answers.errors.get(place, BLANK) for place in range(len(answers.rejected))]
    for place, confidence, probs, ranking in zip(
        answers.read, answers.confidences, answers.probs, answers.rankings, strict=True
    ):
        code = answers.rejected[place]
        reason = None if code == ACCEPTED else REJECTIONS[code]
        outcomes[place] = Decision(
            int(ranking[0]), float(confidence), reason, probs.tolist(), ranking.tolist()
        )
    return outcomes


def command(*arguments):
    return [sys.executable, "-m", "bulk", *map(str, arguments)]


def run_command(*arguments, **more):
    return subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
        **more,
    )  # fmt: skip


def report_of(out):
    return json.loads((Path(out) / "_report.json").read_text())
