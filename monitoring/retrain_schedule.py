"""Starts ``python -m training retrain`` once a month, for one machine without a scheduler.

    retrain/state.json   beside the reports: what has been done

Retraining is a process of its own, because it needs libraries and memory that monitoring has not.
Knows nothing about training but that command's ``--as-of`` and exit code.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from capture.labels import read_events
from capture.store import MissingKey, Store
from monitoring import alerts, report
from monitoring.config import Triggers
from monitoring.events import Event
from monitoring.findings import Severity
from monitoring.report import ReportLocations
from monitoring.retrain_due import TRIES, Due, RetrainState, is_due

log = logging.getLogger(__name__)

COMMAND: Final = (sys.executable, "-m", "training", "retrain")
LOOK_EVERY_S: Final = 300.0
LONGEST_S: Final = 12 * 3600.0  # a retraining that hangs must not block the next month's
STOP_WITHIN_S: Final = 30.0  # after SIGTERM; it goes on from its last step when it is started again
_STATE: Final = "retrain/state.json"
_TOPIC: Final = "retrain-job"


@dataclass(frozen=True, slots=True)
class RetrainJob:
    """What to start, when, and how to see that no other runs on this machine."""

    triggers: Triggers
    arguments: tuple[str, ...] = ()  # further ones of `training retrain`
    command: tuple[str, ...] = COMMAND
    lock: Path = Path(tempfile.gettempdir()) / f"digitline-retrain-{os.getuid()}.lock"


def follow(
    locations: ReportLocations,
    job: RetrainJob,
    stop: threading.Event,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """Look every `LOOK_EVERY_S` until `stop` is set; a failure is logged and looked at again."""
    said = ""
    while not stop.is_set():
        try:
            due = look(locations, job, stop, now=now)
            if due is not None and due.reason != said:
                log.info("no retraining now: %s", due.reason)
                said = due.reason
        except (OSError, ValueError) as error:
            log.exception("cannot look whether to retrain: %s", error)  # noqa: TRY401
        stop.wait(LOOK_EVERY_S)


def look(
    locations: ReportLocations,
    job: RetrainJob,
    stop: threading.Event,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Due | None:
    """Retrain if that is due; returns why not, or None where a retraining was started.

    Raises:
        OSError, ValueError: archive, reports or state cannot be read or written.
    """
    with _only_one(job.lock) as lock:
        if lock is None:
            return Due("", 0, starts=False, reason=f"another retraining runs ({job.lock} is held)")
        state = _read_state(locations.reports)
        events, summaries = (
            read_events(locations.captures),
            report.read_summaries(locations.reports),
        )
        due = is_due(state, job.triggers, events, summaries, now=now())
        if not due.starts:
            return due
        log.info("retraining as of %s: %s", due.as_of, due.reason)
        code = _run([*job.command, "--as-of", due.as_of, *job.arguments], lock, stop)
        if code is None:
            log.info("retraining as of %s was stopped; it goes on at the next start", due.as_of)
            return None
        state = _after(state, due, code, now())
        _write_state(locations.reports, state)
    _notify(locations, due, state, code)
    return None


@contextmanager
def _only_one(lock: Path) -> Iterator[int | None]:
    """Hold the lock; None where somebody else holds it.

    The retraining inherits it, so one whose scheduler was killed still keeps others out.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield descriptor
    finally:
        os.close(descriptor)


def _run(command: Sequence[str], lock: int, stop: threading.Event) -> int | None:
    """The exit code of a command, or None where `stop` ended it."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[lock])
    give_up_s = time.monotonic() + LONGEST_S
    while process.poll() is None and time.monotonic() < give_up_s and not stop.wait(0.2):
        pass
    if process.poll() is not None:
        return process.returncode
    process.terminate()
    try:
        process.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return None if stop.is_set() else process.returncode


def _after(state: RetrainState, due: Due, code: int, at: datetime) -> RetrainState:
    if code == 0:
        return RetrainState(done=due.as_of, num_labelled=due.num_labelled)
    tries = state.tries + 1 if state.trying == due.as_of else 1
    return replace(state, trying=due.as_of, tries=tries, tried_at=at.isoformat(timespec="seconds"))


def _notify(locations: ReportLocations, due: Due, state: RetrainState, code: int) -> None:
    """Notify people of a failure and of its end; retraining itself tells of its candidate."""
    failed = code != 0
    if failed:
        log.error("retraining as of %s ended with exit code %d", due.as_of, code)
    again = "It is tried again in an hour." if state.tries < TRIES else "It is not tried again."
    event = Event(
        topic=_TOPIC,
        severity=Severity.WATCH if failed else Severity.CALM,
        title=f"Retraining as of {due.as_of} " + ("failed" if failed else "ended well"),
        details=(f"exit code {code}. {again}",) if failed else (),
        sites=(),
        since=due.as_of,
        window=due.as_of,
        link=f"{locations.reports_url}/index.html",
        to_do=(
            f"Read the job's log; run `python -m training retrain --as-of {due.as_of}` by hand."
            if failed
            else "Nothing."
        ),
    )
    alerts.notify(locations.reports, locations.sinks, event)
    alerts.flush(locations.reports)


def _read_state(reports: Store) -> RetrainState:
    try:
        return RetrainState(**json.loads(reports.get(_STATE)))
    except MissingKey:
        return RetrainState()
    except TypeError as error:
        raise ValueError(f"{reports.url}/{_STATE} is damaged: {error}; delete it") from error


def _write_state(reports: Store, state: RetrainState) -> None:
    body = json.dumps(asdict(state)).encode()
    reports.put(_STATE, body, content_type="application/json")
