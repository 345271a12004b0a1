"""Starts the month's retraining once a month, for one machine without a scheduler.

    retrain/state.json   beside the reports: what has been done

Retraining is a process of its own, because it needs libraries and memory that monitoring has not.
Knows nothing about training but its command's ``--as-of`` and exit code: ``python -m training
retrain`` of digits, unless another one is handed in.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shlex
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
from monitoring import alerts
from monitoring.config import Triggers
from monitoring.events import Event
from monitoring.findings import Severity
from monitoring.report_store import ReportLocations, read_summaries
from monitoring.retrain_due import (
    TRIES,
    Due,
    RetrainState,
    end_of_finished,
    is_due,
    num_crops_before,
)

log = logging.getLogger(__name__)

COMMAND: Final = (sys.executable, "-m", "training", "retrain")
LOOK_EVERY_S: Final = 300.0
LONGEST_S: Final = 12 * 3600.0  # a retraining that hangs must not block the next month's
STOP_WITHIN_S: Final = 30.0  # after SIGTERM; it goes on from its last step when it is started again
_STATE: Final = "retrain/state.json"
_TOPIC: Final = "retrain-job"


@dataclass(frozen=True, slots=True)
class Labelled:
    """What a month brings, and how much of it had come to the archive before a moment."""

    what: str
    num_before: Callable[[Store, datetime], int]


CROPS: Final = Labelled(
    "labelled crops", lambda captures, end: num_crops_before(read_events(captures), end)
)


@dataclass(frozen=True, slots=True)
class RetrainJob:
    """What to start, when, and how to see that no other runs on this machine."""

    triggers: Triggers
    arguments: tuple[str, ...] = ()  # further ones of the command
    command: tuple[str, ...] = COMMAND  # takes --as-of MONTH
    labelled: Labelled = CROPS
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
        state = read_state(locations.reports)
        moment = now()
        num_labelled = job.labelled.num_before(locations.captures, end_of_finished(moment))
        summaries = read_summaries(locations.reports)
        what = job.labelled.what
        due = is_due(state, job.triggers, num_labelled, summaries, now=moment, what=what)
        if not due.starts:
            return due
        log.info("retraining as of %s: %s", due.as_of, due.reason)
        code = _run([*job.command, "--as-of", due.as_of, *job.arguments], lock, stop)
        if code is None:
            log.info("retraining as of %s was stopped; it goes on at the next start", due.as_of)
            return None
        state = _after(state, due, code, now())
        _write_state(locations.reports, state)
    _notify(locations, job, due, state, code)
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


def _notify(
    locations: ReportLocations, job: RetrainJob, due: Due, state: RetrainState, code: int
) -> None:
    """Notify people of a failure and of its end; retraining itself tells of its candidate."""
    failed = code != 0
    if failed:
        log.error("retraining as of %s ended with exit code %d", due.as_of, code)
    by_hand = shlex.join(("python", *job.command[1:]))
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
            f"Read the job's log; run `{by_hand} --as-of {due.as_of}` by hand."
            if failed
            else "Nothing."
        ),
    )
    alerts.notify(locations.reports, locations.sinks, event)
    alerts.flush(locations.reports)


def read_state(reports: Store) -> RetrainState:
    """What has been done. Raises ValueError: the file is damaged."""
    try:
        return RetrainState(**json.loads(reports.get(_STATE)))
    except MissingKey:
        return RetrainState()
    except TypeError as error:
        raise ValueError(f"{reports.url}/{_STATE} is damaged: {error}; delete it") from error


def _write_state(reports: Store, state: RetrainState) -> None:
    body = json.dumps(asdict(state)).encode()
    reports.put(_STATE, body, content_type="application/json")
