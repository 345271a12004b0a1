"""The commands of capture and of drift.

ship, erase, compact and expire maintain the archive; label and labels store and show what people
keyed; reference, report, watch and check compare mail with the model's reference; serve shows the
reports; retrain, labelled and tell serve retraining; bench times capture.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from capture import commands, label_commands
from capture.commands import Command, metric_emitter, stop_on_signal, today, window
from capture.store import StoreError
from contract.tcp_port import tcp_port
from monitoring import reference_command
from monitoring.config import Settings, from_environment

if TYPE_CHECKING:
    from monitoring.report_store import ReportLocations

_ALERTS_HELP = "sinks that alerts go to"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it did its work, 2 where a setting has a mistake."""
    try:
        settings = from_environment()
    except ValueError as error:  # names the variable
        sys.stderr.write(f"{error}\n")
        return 2
    options = build_parser(settings).parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    command: Command = options.command
    try:
        return command(options)
    except StoreError as error:  # names the place, and the file if one is damaged
        sys.stderr.write(f"{error}\n")
        return 1


def build_parser(settings: Settings) -> argparse.ArgumentParser:
    """The parser of every command; `capture` registers its own on it."""
    parser = argparse.ArgumentParser(
        prog="python -m monitoring",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subcommands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command, text: str) -> argparse.ArgumentParser:
        added = subcommands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        added.set_defaults(command=command)
        return added

    commands.register(add, settings.capture)
    label_commands.register(add, settings.capture)
    reference_command.register(add, settings.capture, reports_url=settings.reports_url)
    _register(add, settings)
    return parser


def _register(add: commands.AddCommand, settings: Settings) -> None:
    sinks = list(settings.alerts)
    tell = add("tell", _tell, "send an event that another program wrote as JSON to the sinks")
    tell.add_argument("event", type=Path, help="the JSON file")
    tell.add_argument("--reports", default=settings.capture.reports, help=commands.REPORTS_HELP)
    tell.add_argument("--alerts", nargs="*", default=sinks, metavar="SINK", help=_ALERTS_HELP)

    serve = add("serve", partial(_serve, settings=settings), "serve the reports over HTTP")
    serve.add_argument("--reports", default=settings.capture.reports, help=commands.REPORTS_HELP)
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on")
    serve.add_argument("--port", type=tcp_port, default=8090, help="port to listen on")

    retrain = add(
        "retrain",
        partial(_retrain, settings=settings),
        "start `training retrain` when a month has ended and its labels or drift call for it",
    )
    retrain.add_argument("--follow", action="store_true", help="keep running, and look again")
    retrain.add_argument("--store", default=settings.capture.store, help=commands.STORE_HELP)
    retrain.add_argument("--reports", default=settings.capture.reports, help=commands.REPORTS_HELP)
    retrain.add_argument("--alerts", nargs="*", default=sinks, metavar="SINK", help=_ALERTS_HELP)
    retrain.add_argument(
        "arguments", nargs="*", metavar="-- ARGUMENT", help="further ones of `training retrain`"
    )

    for name, run, text in (
        ("report", _report, "compare a window with the reference, write the page, send alerts"),
        ("watch", _watch, "keep running: report, compact and expire once a day"),
        ("check", _check, "alert when yesterday's report is missing; deliver waiting alerts"),
    ):
        drift = add(name, partial(run, settings=settings), text)
        drift.add_argument("--store", default=settings.capture.store, help=commands.STORE_HELP)
        drift.add_argument(
            "--reports", default=settings.capture.reports, help=commands.REPORTS_HELP
        )
        drift.add_argument("--alerts", nargs="*", default=sinks, metavar="SINK", help=_ALERTS_HELP)
        drift.add_argument(
            "--reference",
            default="champion",
            help="champion (or the week adopted for it), or a file",
        )
        if name == "report":
            drift.add_argument(
                "--current",
                type=window,
                default="yesterday",
                metavar="DAYS",
                help="yesterday, 2026-11-01 or 2026-11-01..2026-11-07",
            )
        if name == "watch":
            drift.add_argument("--every", choices=["day"], default="day", help="how often")


def _tell(options: argparse.Namespace) -> int:
    import json

    from capture.store import open_store
    from monitoring import alerts
    from monitoring.events import Event

    said = json.loads(options.event.read_text())
    event = Event(**(said | {name: tuple(said[name]) for name in ("details", "sites")}))
    reports = open_store(options.reports)
    alerts.enqueue(reports, options.alerts, event)
    return _undelivered(alerts.flush(reports))


def _locations(options: argparse.Namespace, settings: Settings) -> ReportLocations:
    from capture.store import open_store
    from monitoring.report_store import ReportLocations
    from monitoring.sinks import open_sink

    for sink in options.alerts:
        open_sink(sink)  # refuse an invalid sink before the report is made
    return ReportLocations(
        captures=open_store(options.store),
        reports=open_store(options.reports),
        reports_url=settings.reports_url,
        sinks=tuple(options.alerts),
    )


def _report(options: argparse.Namespace, *, settings: Settings) -> int:
    from monitoring import alerts, mail_reference, report

    locations = _locations(options, settings)
    assessment = report.run(
        locations,
        options.current,
        mail_reference.load(options.reference, locations.reports, settings.capture.champion),
        emit=metric_emitter(emf=settings.capture.emf),
        today=today(),
    )
    verdict = assessment.severity.name.lower() if assessment.enough else "insufficient data"
    print(f"{options.current}: {verdict}, {assessment.num_records} records")
    for finding in assessment.findings:
        print(f"  {finding.severity.name.lower()}: {finding.text}")
    for sentence in assessment.not_judged:
        print(f"  {sentence}")
    print(f"{locations.reports_url}/{options.current}/index.html")
    return _undelivered(alerts.flush(locations.reports))


def _watch(options: argparse.Namespace, *, settings: Settings) -> int:
    from monitoring import mail_reference, watch

    stop = stop_on_signal()  # before the stores are opened: a stop during that ends with 0, too
    locations = _locations(options, settings)
    watch.watch(
        locations,
        lambda: mail_reference.load(
            options.reference, locations.reports, settings.capture.champion
        ),
        stop,
        emit=metric_emitter(emf=settings.capture.emf),
        keep_days=settings.capture.keep_days,
    )
    return 0


def _serve(options: argparse.Namespace, *, settings: Settings) -> int:
    from capture.store import open_store
    from monitoring import page_server

    page_server.serve(
        open_store(options.reports),
        reports_url=settings.reports_url,
        host=options.host,
        port=options.port,
    )
    return 0


def _retrain(options: argparse.Namespace, *, settings: Settings) -> int:
    from monitoring import retrain_schedule

    stop = stop_on_signal()
    locations = _locations(options, settings)
    job = retrain_schedule.RetrainJob(settings.retrain, tuple(options.arguments))
    if options.follow:
        retrain_schedule.follow(locations, job, stop)
        return 0
    due = retrain_schedule.look(locations, job, stop)
    if due is not None:
        print(f"no retraining now: {due.reason}")
    return 0


def _check(options: argparse.Namespace, *, settings: Settings) -> int:
    from monitoring import alerts, report

    locations = _locations(options, settings)
    summaries = report.rebuild_calendar(locations.reports, today=today())
    report.notify_missing(locations, summaries, today=today())
    missing = report.missing_days(summaries, today=today())
    print("missing: " + (", ".join(map(str, missing)) or "none"))
    return _undelivered(alerts.flush(locations.reports))


def _undelivered(num_waiting: int) -> int:
    """Exit code: 1 while alerts are undelivered, so that the scheduler runs the task again."""
    if num_waiting:
        print(f"{num_waiting} alerts are not delivered: a sink failed", file=sys.stderr)
    return 1 if num_waiting else 0


if __name__ == "__main__":
    sys.exit(main())
