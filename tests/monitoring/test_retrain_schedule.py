"""The monthly retraining's schedule, with a stand-in for `training retrain` as a real process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from capture.label_event import LabelEvent
from capture.labels import add_events
from capture.store import open_store
from monitoring.config import Triggers
from monitoring.report_store import ReportLocations
from monitoring.retrain_schedule import COMMAND, RetrainJob, follow, look

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 12, 5, 8, tzinfo=UTC)
IN_NOVEMBER_US = int(datetime(2026, 11, 20, tzinfo=UTC).timestamp() * 1e6)
# Notes its arguments, then waits while the file `wait` exists, and ends with the code in `code`.
STAND_IN = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
with (folder / "runs").open("a") as runs:
    runs.write(" ".join(sys.argv[2:]) + "\\n")
while (folder / "wait").exists():
    time.sleep(0.02)
sys.exit(int((folder / "code").read_text()) if (folder / "code").exists() else 0)
"""
SCHEDULER = """
import sys, threading
from pathlib import Path
from tests.monitoring.test_retrain_schedule import NOW, job_in, locations_in
from monitoring.retrain_schedule import look
look(locations_in(Path(sys.argv[1])), job_in(Path(sys.argv[1])), threading.Event(), now=lambda: NOW)
"""


def locations_in(folder: Path) -> ReportLocations:
    return ReportLocations(
        captures=open_store(str(folder / "captures")),
        reports=open_store(str(folder / "reports")),
        reports_url="http://127.0.0.1:8090",
        sinks=(f"file:{folder / 'alerts.jsonl'}",),
    )


def job_in(folder: Path) -> RetrainJob:
    return RetrainJob(
        Triggers(min_labels=3, drift=None),
        arguments=("--until", "gate"),
        command=(sys.executable, "-c", STAND_IN, str(folder)),
        lock=folder / "lock",
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    events = [LabelEvent(f"r{n}", 0, "7", "ada", IN_NOVEMBER_US, "keyed") for n in range(3)]
    add_events(locations_in(tmp_path).captures, events)
    return tmp_path


def look_now(folder: Path, *, after: timedelta = timedelta(0)):
    stop = threading.Event()
    return look(locations_in(folder), job_in(folder), stop, now=lambda: NOW + after)


def runs(folder: Path) -> list[str]:
    path = folder / "runs"
    return path.read_text().splitlines() if path.exists() else []


def alerts(folder: Path) -> list[dict]:
    path = folder / "alerts.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_until(true: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + 60
    while not true():
        assert time.monotonic() < give_up_s
        time.sleep(0.02)


def test_the_past_month_is_retrained_once_with_the_further_arguments(folder):
    assert look_now(folder) is None
    assert look_now(folder, after=timedelta(days=1)).reason == "2026-11 is done"
    assert runs(folder) == ["--as-of 2026-11 --until gate"]


def test_a_failure_is_told_with_a_link_and_tried_again_and_its_end_is_told(folder):
    (folder / "code").write_text("3")
    look_now(folder)
    assert look_now(folder, after=timedelta(minutes=30)) is not None
    look_now(folder, after=timedelta(hours=2))
    (told,) = alerts(folder)
    assert told["title"] == "Retraining as of 2026-11 failed"
    assert told["details"] == ["exit code 3. It is tried again in an hour."]
    assert told["link"] == "http://127.0.0.1:8090/index.html"
    (folder / "code").unlink()
    look_now(folder, after=timedelta(hours=4))
    assert [one["title"] for one in alerts(folder)][1:] == ["Retraining as of 2026-11 ended well"]
    assert len(runs(folder)) == 3


def test_two_schedulers_never_retrain_at_the_same_time(folder):
    (folder / "wait").touch()
    first = threading.Thread(target=look_now, args=(folder,), daemon=True)
    first.start()
    wait_until(lambda: bool(runs(folder)))
    assert "another retraining runs" in look_now(folder).reason
    (folder / "wait").unlink()
    first.join(30)
    assert len(runs(folder)) == 1


def test_a_retraining_whose_scheduler_was_killed_still_keeps_others_out(folder):
    (folder / "wait").touch()
    scheduler = subprocess.Popen(
        [sys.executable, "-c", SCHEDULER, str(folder)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
    )
    wait_until(lambda: bool(runs(folder)))
    scheduler.kill()
    scheduler.wait()
    assert "another retraining runs" in look_now(folder).reason
    (folder / "wait").unlink()
    wait_until(lambda: look_now(folder) is None)
    assert look_now(folder).reason == "2026-11 is done"


def test_a_stop_ends_the_retraining_which_begins_again_at_the_next_start(folder):
    (folder / "wait").touch()
    stop = threading.Event()
    thread = threading.Thread(
        target=follow,
        args=(locations_in(folder), job_in(folder), stop),
        kwargs={"now": lambda: NOW},
        daemon=True,
    )
    thread.start()
    wait_until(lambda: bool(runs(folder)))
    stop.set()
    thread.join(30)
    assert not thread.is_alive()
    assert alerts(folder) == []
    (folder / "wait").unlink()
    assert look_now(folder) is None
    assert len(runs(folder)) == 2


def test_what_is_started_is_the_command_of_training():
    assert (sys.executable, "-m", "training", "retrain") == COMMAND


@pytest.mark.slow
def test_the_command_looks_says_why_not_and_ends_on_sigterm(folder):
    command = [sys.executable, "-m", "monitoring", "retrain"]
    places = ["--store", str(folder / "none"), "--reports", str(folder / "reports")]
    env = os.environ | {"TMPDIR": str(folder)}
    once = subprocess.run(
        [*command, *places], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    assert "0 labelled crops are new, 200 are needed" in once.stdout
    with (folder / "log").open("wb") as log:
        following = subprocess.Popen([*command, "--follow", *places], cwd=ROOT, env=env, stderr=log)
    wait_until(lambda: "200 are needed" in (folder / "log").read_text())
    following.send_signal(signal.SIGTERM)
    assert following.wait(timeout=30) == 0
