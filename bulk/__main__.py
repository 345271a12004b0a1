"""Read stored crops in bulk: `python -m bulk read SRC --out DST` writes Parquet, a row an input.

A killed job goes on where it was when the same command is given again. Answers never enter capture
or drift statistics.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bulk.choose_source import KINDS, choose_source
from bulk.dry_run import Estimate, estimate
from bulk.inputs import Shard, Source, SourceError
from bulk.job import JobOptions, JobRefused, check_apart, locked
from bulk.local_pool import WorkerDied, read_here
from bulk.progress import duration
from bulk.run import Engine, Report, run_job
from bulk.shard_reading import Task
from capture.archive import Window, parse_window
from capture.store import open_store
from model import artifact
from model.errors import ModelError

if TYPE_CHECKING:
    from bulk.shard_reading import ShardDone

EXIT_FAILED, EXIT_ERROR, EXIT_INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 1 when shards failed, 2 on errors."""
    chosen = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        return _read(chosen)
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (SourceError, JobRefused, ModelError, WorkerDied, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bulk", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    read = commands.add_parser("read", help="read all crops of a source", description=__doc__)
    read.add_argument(
        "source",
        metavar="SRC",
        help="a folder of PNG or JPEG files, Parquet (a file or folder), a tar or zip, or an "
        "archive of captures; local or s3://bucket/prefix",
    )
    read.add_argument(
        "--out", metavar="DST", help="an empty folder or s3://bucket/prefix for the Parquet files"
    )
    _add_source_options(read)
    read.add_argument(
        "--keep-input", action="store_true", help="add the input as column `input` (PNG or JPEG)"
    )
    read.add_argument(
        "--champion",
        type=Path,
        default=Path(os.path.relpath(artifact.CHAMPION)),
        help="folder of the model (default: %(default)s)",
    )
    read.add_argument(
        "--error-target",
        type=float,
        help="largest share of accepted reads that may be wrong (default: the model's)",
    )
    read.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="ray" if os.environ.get("RAY_ADDRESS") else "local",
        help="processes on this machine, or Ray Data on the cluster of RAY_ADDRESS "
        "(default: ray where RAY_ADDRESS is set, else local)",
    )
    read.add_argument(
        "--workers", type=_positive, help="processes (default: one for each core, or Ray CPU)"
    )
    read.add_argument(
        "--dry-run",
        action="store_true",
        help="only tell count, size, time and cost, from a measured sample",
    )
    return parser


def _add_source_options(read: argparse.ArgumentParser) -> None:
    read.add_argument("--kind", choices=KINDS, help="what SRC is (default: found out)")
    read.add_argument(
        "--days",
        metavar="WINDOW",
        help="of an archive: yesterday, 2026-11-01 or 2026-11-01..2026-11-07 (default: all)",
    )
    read.add_argument(
        "--crop-column",
        metavar="NAME",
        help="of Parquet: PNG or JPEG bytes, or uint8 arrays (default: crop, image, png, crop_png, "
        "picture, bytes or pixels, or the only one that fits)",
    )
    read.add_argument(
        "--name-column",
        metavar="NAME",
        help="of Parquet (default: name, id, key, read_id, file, filename or path; else rows are "
        "named FILE#NUMBER)",
    )
    read.add_argument(
        "--shard-rows",
        type=_positive,
        default=10_000,
        help="inputs of one output file, which is what a kill can lose (default: %(default)s)",
    )


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def _read(chosen: argparse.Namespace) -> int:
    days = _window(chosen.days)
    options = JobOptions(
        source=chosen.source,
        shard_rows=chosen.shard_rows,
        days=None if days is None else str(days),
        crop_column=chosen.crop_column,
        name_column=chosen.name_column,
        keep_input=chosen.keep_input,
        error_target=chosen.error_target,
    )
    source = choose_source(options, chosen.kind, days)
    task = Task(
        out=chosen.out or "",
        artifact=artifact.load(chosen.champion),
        error_target=chosen.error_target,
        keep_input=chosen.keep_input,
    )
    if chosen.dry_run:
        _tell(estimate(source, task, chosen.workers or cores()), source)
        return 0
    if not chosen.out:
        raise SourceError("where to? Give --out, an empty folder or s3://bucket/prefix")
    check_apart(chosen.source, chosen.out)
    with locked(chosen.out):
        report = run_job(options, source, task, open_store(chosen.out), _engine(chosen))
    _summarize(report, chosen.out)
    return 0 if report.is_whole else EXIT_FAILED


def _window(text: str | None) -> Window | None:
    try:
        return None if text is None else parse_window(text, today=datetime.now(UTC).date())
    except ValueError as error:
        raise SourceError(str(error)) from error


def _engine(chosen: argparse.Namespace) -> Engine:
    if chosen.engine == "local":
        return partial(_on_this_machine, workers=chosen.workers or cores())
    try:
        from bulk.ray_engine import read_on_ray
    except ImportError as error:
        raise SourceError(
            f"engine ray needs Ray ({error}): pip install -r requirements-bulk.txt"
        ) from error
    return partial(read_on_ray, workers=chosen.workers)


def _on_this_machine(task: Task, shards: Iterator[Shard], workers: int) -> Iterator[ShardDone]:
    return read_here(task, shards, workers)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _tell(found: Estimate, source: Source) -> None:
    print(
        f"{found.inputs:,} inputs ({source.kind}), {found.num_bytes / 1e9:.2f} GB, "
        f"{found.shards:,} shards, {found.skipped:,} files skipped\n"
        f"{1e6 * found.seconds_each:.0f} us each on one core, measured on {found.sampled:,}\n"
        f"{duration(found.wall_s)} with {found.workers} workers like this core\n"
        f"{found.core_hours:.2f} core hours, {found.usd:.2f} USD at {found.priced}"
    )


def _summarize(report: Report, out: str) -> None:
    counts = report.counts
    why = ", ".join(f"{number:,} {reason}" for reason, number in counts.rejected.items())
    print(
        f"{counts.rows:,} rows in {out}: {counts.accepted:,} accepted, "
        f"{sum(counts.rejected.values()):,} rejected ({why or 'none'}), {counts.errors:,} errors\n"
        f"{report.skipped:,} files skipped, {counts.left_out:,} copies and erased records left out"
        f", {report.resumed_shards:,} of {report.shards:,} shards read before\n"
        f"{duration(report.wall_s)}, {report.cpu_s:,.0f} s of processor time"
    )
    for failure in report.failures:
        print(f"failed: {failure}", file=sys.stderr)
    if report.failures:
        print("run the same command again to read the failed shards", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
