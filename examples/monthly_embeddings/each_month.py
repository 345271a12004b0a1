"""Refits when a month is over: `python -m examples.monthly_embeddings.each_month [--follow]`.

What is due, what runs, what is tried again and what people are told of a failure is decided by
`monitoring/retrain_schedule.py`. Edge: starts `refit` as a process.
"""

from __future__ import annotations

import argparse
import logging
import sys
from typing import Final

from capture.commands import stop_on_signal
from capture.store import open_store
from examples.monthly_embeddings import pairs
from examples.monthly_embeddings.refit import add_places
from monitoring import retrain_schedule
from monitoring.config import Triggers, from_environment
from monitoring.report_store import ReportLocations
from monitoring.retrain_schedule import Labelled, RetrainJob

TRIGGERS: Final = Triggers(min_labels=5, drift=None)  # pairs that are new


def schedule(options: argparse.Namespace) -> tuple[ReportLocations, RetrainJob]:
    """What `retrain_schedule` needs; state and alerts that wait are kept in the data store."""
    data = open_store(options.data)
    locations = ReportLocations(data, data, data.url, from_environment().alerts)
    named = {
        name: str(getattr(options, name)) for name in ("data", "store", "champion", "work", "why")
    }
    options.work.mkdir(parents=True, exist_ok=True)
    job = RetrainJob(
        TRIGGERS,
        arguments=tuple(word for name, value in named.items() for word in (f"--{name}", value)),
        command=(sys.executable, "-m", "examples.monthly_embeddings.refit"),
        labelled=Labelled("pairs", pairs.num_before),
        lock=options.work / "schedule.lock",
    )
    return locations, job


def main() -> int:
    """Look once, or until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m examples.monthly_embeddings.each_month")
    parser.add_argument("--follow", action="store_true", help="keep running, and look again")
    add_places(parser)
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    stop = stop_on_signal()
    locations, job = schedule(options)
    if options.follow:
        retrain_schedule.follow(locations, job, stop)
        return 0
    due = retrain_schedule.look(locations, job, stop)
    if due is not None:
        sys.stdout.write(f"no refit now: {due.reason}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
