"""The commands of capture: `register` adds them to the parser of ``python -m monitoring``.

Heavy imports happen inside the command that needs them.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from capture.config import CaptureSettings

if TYPE_CHECKING:
    from capture.archive import Window
    from capture.look_up import Read

Command = Callable[[argparse.Namespace], int]
AddCommand = Callable[[str, Command, str], argparse.ArgumentParser]

STORE_HELP = "the archive: a folder or s3://bucket/prefix"
REPORTS_HELP = "the reports: a folder or s3://bucket/prefix"
SPOOL_HELP = "folder that the service captures to"


def register(add: AddCommand, settings: CaptureSettings) -> None:
    """Add the commands that ship, keep, erase and time captures."""
    _register_spool_commands(add, settings)
    _register_archive_commands(add, settings)


def _register_spool_commands(add: AddCommand, settings: CaptureSettings) -> None:
    ship = add(
        "ship",
        partial(_ship, emf=settings.emf),
        "move finished spool segments to the archive, as Parquet",
    )
    ship.add_argument("--spool", type=Path, default=settings.spool, help=SPOOL_HELP)
    ship.add_argument("--store", default=settings.store, help=STORE_HELP)
    ship.add_argument("--follow", action="store_true", help="keep running, as a sidecar")
    ship.add_argument("--poll-s", type=float, default=5.0, help="seconds between polls")

    find = add("find", _find, "list the captured reads that have an id")
    _add_id(find)
    find.add_argument("--spool", type=Path, default=settings.spool, help=SPOOL_HELP)
    find.add_argument("--store", default=settings.store, help=STORE_HELP)

    text = "remove a read from spool, archive, labels, reports and data snapshots"
    erase = add("erase", _erase, text)
    _add_id(erase)
    erase.add_argument(
        "--all", action="store_true", help="remove every read that has this request_id"
    )
    erase.add_argument("--spool", type=Path, default=settings.spool, help=SPOOL_HELP)
    erase.add_argument("--store", default=settings.store, help=STORE_HELP)
    erase.add_argument("--reports", default=settings.reports, help=REPORTS_HELP)
    erase.add_argument(
        "--data-store", default=settings.data, help="data snapshots: a folder or s3://bucket/prefix"
    )
    erase.add_argument(
        "--model-store", default=settings.models, help="champions: a folder or s3://bucket/prefix"
    )
    named = settings.champion or ""
    erase.add_argument(
        "--champion",
        type=Path,
        default=Path("model/champion" if not named or "://" in named else named),
        help="folder of the served model; DIGITS_CHAMPION (default: %(default)s)",
    )

    bench = add("bench", _bench, "time one append: what capture adds to an answer")
    bench.add_argument(
        "--folder",
        type=Path,
        help="folder on the disk to be measured; a temporary one if not given",
    )


def _add_id(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "id", type=_id, help="the read_id of an answer; or a request_id, where it names one read"
    )


def _id(text: str) -> str:
    """An id from the command line; of bytes that are not UTF-8, Python makes half characters."""
    if not text or not text.isprintable():
        raise argparse.ArgumentTypeError(f"{text!r} is no id; give visible characters in UTF-8")
    return text


def _register_archive_commands(add: AddCommand, settings: CaptureSettings) -> None:
    compact = add("compact", _compact, "merge the files of finished days, one for each site")
    compact.add_argument(
        "--day",
        type=window,
        default="yesterday",
        help="yesterday, 2026-11-01 or 2026-11-01..2026-11-07",
    )
    compact.add_argument("--store", default=settings.store, help=STORE_HELP)

    expire = add("expire", _expire, "delete records older than the retention")
    expire.add_argument(
        "--keep-days", type=int, default=settings.keep_days, help="days of records to keep"
    )
    expire.add_argument("--store", default=settings.store, help=STORE_HELP)

    labelled = add("labelled", _labelled, "write the labelled captures to a file")
    labelled.add_argument(
        "--out", type=Path, required=True, metavar="NPZ", help="the file to write"
    )
    labelled.add_argument("--store", default=settings.store, help=STORE_HELP)


def today() -> date:
    """Today in UTC."""
    return datetime.now(UTC).date()


def window(text: str) -> Window:
    """The days that an option names, for argparse."""
    from capture.archive import parse_window

    try:
        return parse_window(text, today=today())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def stop_on_signal() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def metric_emitter(*, emf: bool) -> Callable[[str], None]:
    """Where metric lines go: to stdout for CloudWatch, else to the log."""

    def to_stdout(line: str) -> None:
        print(line, flush=True)

    return to_stdout if emf else logging.getLogger("metrics").info


def _ship(options: argparse.Namespace, *, emf: bool) -> int:
    from capture import ship
    from capture.store import open_store

    store = open_store(options.store)
    options.spool.mkdir(parents=True, exist_ok=True)
    if not options.follow:
        done = ship.ship_once(options.spool, store)
        print(f"{done.num_segments} segments, {done.num_records} records to {store.url}")
        if done.bad_bytes:
            print(f"{done.num_bad_records} records and other damage are kept as .bad files")
        return 0
    left = ship.follow(
        options.spool,
        store,
        ship.FollowSettings(poll_s=options.poll_s),
        stop_on_signal(),
        emit=metric_emitter(emf=emf),
    )
    return 1 if left else 0


def _find(options: argparse.Namespace) -> int:
    reads = _reads(options)
    for read in reads:
        print(read)
    if not reads:
        print(f"no captured read has the id {options.id!r}", file=sys.stderr)
    return 0 if reads else 1


def _reads(options: argparse.Namespace) -> list[Read]:
    """The reads of archive and spool that have an id, whichever of the two it is."""
    from capture.look_up import find_among, find_in_archive
    from capture.segments import read_spool
    from capture.store import open_store

    reads = find_in_archive(open_store(options.store), [options.id])
    known = {read.read_id for read in reads}
    in_spool = find_among(read_spool(options.spool), [options.id])
    return reads + [read for read in in_spool if read.read_id not in known]


def _erase(options: argparse.Namespace) -> int:
    from capture.damaged import REMEDY
    from capture.erasure import erase_from_archive, erase_pictures
    from capture.look_up import AmbiguousId
    from capture.segments import erase_from_spool
    from capture.store import open_store

    reads = _reads(options)
    try:
        chosen = _to_erase(reads, options.id, every=options.all)
    except AmbiguousId as error:
        print(f"{error}, or --all to erase them all:", file=sys.stderr)
        for read in error.reads:
            print(f"  {read}", file=sys.stderr)
        return 1
    if not chosen:
        print(f"no captured read has the id {options.id!r}; as a read_id it is erased if it comes")
    read_ids = {read.read_id for read in chosen}
    if options.id not in {read.read_id for read in reads}:
        read_ids.add(options.id)  # a read on its way may have it, and labels of no known read
    store, reports = open_store(options.store), open_store(options.reports)
    in_spool = erase_from_spool(options.spool, read_ids)
    erased = [erase_from_archive(store, read_id) for read_id in read_ids]
    in_archive = sum(one.num_rows for one in erased)
    pictures = sum(erase_pictures(reports, read_id) for read_id in read_ids)
    print(f"removed {in_spool} records from the spool, {in_archive} rows, {pictures} pictures")
    is_marked = _erase_from_data(options, read_ids)
    unsearched = {key for one in erased for key in one.unsearched}
    if unsearched:
        print(f"NOT searched, {REMEDY}, then erase again:", *sorted(unsearched), file=sys.stderr)
    return 1 if unsearched or not is_marked else 0


def _erase_from_data(options: argparse.Namespace, read_ids: set[str]) -> bool:
    """Erase reads from the data snapshots, and tell which snapshots and champions used them.

    Returns whether every champion that was trained on them is marked.
    """
    from capture.snapshot_erasure import erase_from_snapshots, mark_champions, of_reads
    from capture.store import open_store

    rewritten = erase_from_snapshots(open_store(options.data_store), of_reads(read_ids))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for one in rewritten:
        print(one)
    if not rewritten:
        print("no data snapshot had it")
    models = open_store(options.model_store)
    try:
        champions = mark_champions(models, options.champion, rewritten, when=now)
    except OSError as error:
        print(
            f"a champion was trained on it and cannot be marked: {error}; retrain without it: "
            "python -m training retrain --force",
            file=sys.stderr,
        )
        return False
    for version in champions:
        print(f"champion {version} was trained on it and is marked: retrain due")
    return True


def _to_erase(reads: list[Read], given: str, *, every: bool) -> list[Read]:
    """Of the reads found by an id: the one that it names, or each that has it as request_id.

    A caller may have sent another read's read_id as its request_id; that read is not among them.
    """
    from capture.look_up import choose

    if every:
        return [read for read in reads if read.request_id == given]
    named = choose(reads, given)
    return [] if named is None else [named]


def _compact(options: argparse.Namespace) -> int:
    from capture.compaction import compact
    from capture.kept_crops import keep_labelled
    from capture.labels import compact_labels
    from capture.store import open_store

    store = open_store(options.store)
    num_files = sum(compact(store, day) for day in options.day.days()) + compact_labels(store)
    num_kept = keep_labelled(store)
    print(f"{num_files} files merged, {num_kept} labelled crops kept")
    return 0


def _expire(options: argparse.Namespace) -> int:
    from capture.compaction import expire
    from capture.kept_crops import keep_labelled
    from capture.store import open_store

    store = open_store(options.store)
    keep_labelled(store)
    num_files = expire(store, keep_days=options.keep_days, today=today())
    print(f"{num_files} files deleted")
    return 0


def _labelled(options: argparse.Namespace) -> int:
    import numpy as np

    from capture import labelled
    from capture.store import open_store

    found = labelled.read(open_store(options.store))
    np.savez(options.out, images=found.images, labels=found.labels, bucket=found.bucket)
    print(f"{len(found)} labelled captures of {options.store} to {options.out}")
    return 0


def _bench(options: argparse.Namespace) -> int:
    from capture import spool_bench

    for timing in (*spool_bench.run(options.folder), *spool_bench.run_together(options.folder)):
        print(timing)
    for side, taken_ms in spool_bench.ship_ms().items():
        print(f"ship, noise crop {side}x{side}: {taken_ms:.2f} ms a record (own process)")
    return 0
