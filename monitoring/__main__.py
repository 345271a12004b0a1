"""``python -m monitoring``: every command of capture and drift.

ship, erase, label, compact and expire look after the archive; reference, report and watch after
drift; labelled and tell serve retraining; bench times the hot path. Heavy imports happen inside the
command that needs them.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from monitoring.settings import Settings, from_environment

if TYPE_CHECKING:
    from monitoring.report import Places

Command = Callable[[argparse.Namespace, Settings], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it did its work."""
    settings = from_environment()
    options = _parser(settings).parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    command: Command = options.command
    return command(options, settings)


def _parser(settings: Settings) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m monitoring", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(command=command)
        return added

    ship = add("ship", _ship, "move finished spool segments to the archive, as Parquet")
    ship.add_argument("--spool", type=Path, default=settings.spool)
    ship.add_argument("--store", default=settings.store)
    ship.add_argument("--follow", action="store_true", help="stay, as the service's sidecar")
    ship.add_argument("--poll-s", type=float, default=5.0)

    erase = add("erase", _erase, "remove a request from spool, archive, labels and reports")
    erase.add_argument("request_id")
    erase.add_argument("--spool", type=Path, default=settings.spool)
    erase.add_argument("--store", default=settings.store)
    erase.add_argument("--reports", default=settings.reports)

    label = add("label", _label, "keep truth that arrived: a CSV of request_id,crop_index,label")
    label.add_argument("csv", type=Path)
    label.add_argument("--store", default=settings.store)

    compact = add("compact", _compact, "merge a finished day's files, one for each site")
    compact.add_argument("--day", default="yesterday")
    compact.add_argument("--store", default=settings.store)

    expire = add("expire", _expire, "delete records older than the retention")
    expire.add_argument("--keep-days", type=int, default=settings.keep_days)
    expire.add_argument("--store", default=settings.store)

    labelled = add("labelled", _labelled, "write the labelled captures as a file for training")
    labelled.add_argument("--out", type=Path, required=True, metavar="NPZ")
    labelled.add_argument("--store", default=settings.store)

    tell = add("tell", _tell, "tell people an event that another program wrote as JSON")
    tell.add_argument("event", type=Path)
    tell.add_argument("--reports", default=settings.reports)
    tell.add_argument("--alerts", nargs="*", default=list(settings.alerts), metavar="SINK")

    reference = add("reference", _reference, "make the drift reference from saved predictions")
    reference.add_argument("--from", dest="source", type=Path, required=True, metavar="NPZ")
    reference.add_argument("--out", type=Path, required=True)

    for name, run, text in (
        ("report", _report, "compare a window with the reference, write the page, tell people"),
        ("watch", _watch, "make a report every day, and look after the archive"),
        ("check", _check, "tell people when yesterday's report is missing; deliver what waits"),
    ):
        drift = add(name, run, text)
        drift.add_argument("--store", default=settings.store)
        drift.add_argument("--reports", default=settings.reports)
        drift.add_argument("--alerts", nargs="*", default=list(settings.alerts), metavar="SINK")
        drift.add_argument("--reference", default="champion", help="champion, or a file")
        if name == "report":
            drift.add_argument("--current", default="yesterday", metavar="DAYS")
        if name == "watch":
            drift.add_argument("--every", choices=["day"], default="day")

    bench = add("bench", _bench, "time one append: the cost of capture on the hot path")
    bench.add_argument("--folder", type=Path, help="on the disk to be measured")
    return parser


def _today() -> date:
    return datetime.now(UTC).date()


def _ship(options: argparse.Namespace, settings: Settings) -> int:
    from capture import ship
    from capture.store import open_store

    store = open_store(options.store)
    options.spool.mkdir(parents=True, exist_ok=True)
    if not options.follow:
        done = ship.ship_once(options.spool, store)
        print(f"{done.num_segments} segments, {done.num_records} records to {store.url}")
        return 0
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    left = ship.follow(
        options.spool,
        store,
        ship.FollowSettings(poll_s=options.poll_s),
        stop,
        emit=_emit(settings),
    )
    return 1 if left else 0


def _emit(settings: Settings) -> Callable[[str], None]:
    def to_stdout(line: str) -> None:
        print(line, flush=True)

    return to_stdout if settings.emf else logging.getLogger("metrics").info


def _erase(options: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001
    from capture import archive
    from capture import spool as spools
    from capture.store import open_store

    in_spool = spools.erase(options.spool, options.request_id)
    in_archive = archive.erase(open_store(options.store), options.request_id)
    pictures = archive.erase_pictures(open_store(options.reports), options.request_id)
    print(f"removed {in_spool} records from the spool, {in_archive} rows, {pictures} pictures")
    return 0


def _label(options: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001
    import pandas as pd

    from capture import archive
    from capture.store import open_store

    key = archive.add_labels(open_store(options.store), pd.read_csv(options.csv))
    print(f"kept as {key}")
    return 0


def _compact(options: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001
    from capture import archive
    from capture.store import open_store

    window = archive.parse_window(options.day, today=_today())
    store = open_store(options.store)
    print(f"{sum(archive.compact(store, day) for day in window.days())} files merged")
    return 0


def _expire(options: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001
    from capture import archive
    from capture.store import open_store

    num_files = archive.expire(
        open_store(options.store), keep_days=options.keep_days, today=_today()
    )
    print(f"{num_files} files deleted")
    return 0


def _labelled(options: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001
    import numpy as np

    from capture import labelled
    from capture.store import open_store

    found = labelled.read(open_store(options.store))
    np.savez(options.out, images=found.images, labels=found.labels, bucket=found.bucket)
    print(f"{len(found)} labelled captures of {options.store} to {options.out}")
    return 0


def _tell(options: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001
    import json

    from capture.store import open_store
    from monitoring import alerts
    from monitoring.events import Event

    said = json.loads(options.event.read_text())
    event = Event(**(said | {name: tuple(said[name]) for name in ("details", "sites")}))
    reports = open_store(options.reports)
    alerts.enqueue(reports, options.alerts, event)
    return _undelivered(alerts.flush(reports))


def _reference(options: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001
    from capture import record as records
    from capture import reference

    made = reference.build(records.read_predictions(options.source))
    options.out.write_bytes(reference.to_parquet(made))
    print(f"{len(made.rows)} rows of model {made.model_version} to {options.out}")
    return 0


def _places(options: argparse.Namespace, settings: Settings) -> Places:
    from capture.store import open_store
    from monitoring.report import Places
    from monitoring.sinks import open_sink

    for sink in options.alerts:
        open_sink(sink)  # a wrong one is refused now, not when it is needed
    return Places(
        captures=open_store(options.store),
        reports=open_store(options.reports),
        reports_url=settings.reports_url,
        sinks=tuple(options.alerts),
    )


def _report(options: argparse.Namespace, settings: Settings) -> int:
    from capture import archive, reference
    from monitoring import alerts, report

    places = _places(options, settings)
    window = archive.parse_window(options.current, today=_today())
    assessment = report.run(
        places,
        window,
        reference.load(options.reference),
        emit=_emit(settings),
        today=_today(),
    )
    verdict = assessment.severity.name.lower() if assessment.enough else "insufficient data"
    print(f"{window}: {verdict}, {assessment.num_records} records")
    for finding in assessment.findings:
        print(f"  {finding.severity.name.lower()}: {finding.text}")
    print(f"{places.reports_url}/{window}/index.html")
    return _undelivered(alerts.flush(places.reports))


def _watch(options: argparse.Namespace, settings: Settings) -> int:
    from capture import reference
    from monitoring import watch

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    watch.watch(
        _places(options, settings),
        lambda: reference.load(options.reference),
        stop,
        emit=_emit(settings),
        keep_days=settings.keep_days,
    )
    return 0


def _check(options: argparse.Namespace, settings: Settings) -> int:
    from monitoring import alerts, report

    places = _places(options, settings)
    summaries = report.rebuild_calendar(places.reports, today=_today())
    report.notify_missing(places, summaries, today=_today())
    missing = report.missing_days(summaries, today=_today())
    print("missing: " + (", ".join(map(str, missing)) or "none"))
    return _undelivered(alerts.flush(places.reports))


def _undelivered(num_waiting: int) -> int:
    """A task that could not tell everyone fails, so that its scheduler runs it again."""
    if num_waiting:
        print(f"{num_waiting} alerts wait for a sink that refused them", file=sys.stderr)
    return 1 if num_waiting else 0


def _bench(options: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001
    from capture import spool_bench

    for timing in (*spool_bench.run(options.folder), *spool_bench.run_together(options.folder)):
        print(timing)
    for side, taken_ms in spool_bench.ship_ms().items():
        print(f"ship, noise crop {side}x{side}: {taken_ms:.2f} ms a record (own process)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
