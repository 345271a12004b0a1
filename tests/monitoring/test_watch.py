"""``python -m monitoring watch`` as a process of its own, stopped by a real SIGTERM."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from capture import archive, reference
from capture.predictions import Predictions
from capture.rows import to_table
from capture.store import open_store
from monitoring import watch

ROOT = Path(__file__).resolve().parents[2]
NUM_DAYS = 4
STALLED_S = 120  # without a new file or line in the log: a busy machine is slow, but goes on
PAGES = {"index.html", "evidently.html", "evidently.json", "report.json"}


def days_with_mail() -> list[date]:
    today = datetime.now(UTC).date()
    return [today - timedelta(1 + number) for number in range(1, NUM_DAYS + 1)]


@pytest.fixture
def mail(tmp_path, make_record) -> Path:
    """A folder with 600 records on each of some days, and a reference that they look like."""
    records = [make_record(n) for n in range(600)]
    for day in days_with_mail():
        noon_us = int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp() * 1e6)
        of_day = [
            make_record(n, time_us=noon_us + n, request_id=f"{day}-{n}")
            for n in range(len(records))
        ]
        key = f"{archive.partition(str(day), 'leeds')}/made.parquet"
        data = archive.encode(to_table(of_day))
        open_store(str(tmp_path / "captures")).put(key, data, content_type=archive.PARQUET)
    made = reference.build(
        Predictions(
            model_version="3",
            threshold=0.9,
            garbage_threshold=0.0,
            crops=[record.crop for record in records],
            images=np.stack([record.image for record in records]),
            probs=np.array([record.probs for record in records], np.float32),
            garbage=np.full(600, -4, np.float32),
            labels=np.array([record.digit for record in records]),
        )
    )
    (tmp_path / "reference.parquet").write_bytes(reference.to_parquet(made))
    return tmp_path


@pytest.fixture
def start(mail) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "monitoring", "watch", "--every", "day"]
        command += ["--store", str(mail / "captures"), "--reports", str(mail / "reports")]
        command += ["--reference", str(mail / "reference.parquet"), "--alerts", "log:"]
        with (mail / "watch.log").open("ab") as log:
            started.append(
                subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=os.environ)
            )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_until(true: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait as long as the process goes on: a fixed limit for all days fails on a busy machine."""
    done, give_up_s = progress(log), time.monotonic() + STALLED_S
    while not true():
        assert process.poll() is None, log.read_text()
        if progress(log) != done:
            done, give_up_s = progress(log), time.monotonic() + STALLED_S
        assert time.monotonic() < give_up_s, log.read_text()
        time.sleep(0.1)


def progress(log: Path) -> tuple[int, int]:
    """Length of the log and number of files beside it."""
    return log.stat().st_size, sum(1 for _ in log.parent.rglob("*"))


def reported(reports: Path) -> set[str]:
    return {path.parent.name for path in reports.glob("*/report.json")}


@pytest.mark.slow
def test_sigterm_ends_the_watch_after_the_current_report_and_leaves_none_half_written(mail, start):
    reports, log = mail / "reports", mail / "watch.log"
    first = start()
    wait_until(lambda: bool(reported(reports)), first, log)
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=STALLED_S) == 0, log.read_text()
    done = reported(reports)
    assert 1 <= len(done) <= 2, "the days missed were worked off before it ended"
    for folder in reports.glob("20*"):
        assert folder.name in done
        assert {path.name for path in folder.iterdir()} >= PAGES
    calendar = (reports / "index.html").read_text()
    assert all(f'href="{day}/index.html"' in calendar for day in done)
    assert not list(mail.rglob(".part-*"))

    second = start()
    every_day = {str(day) for day in days_with_mail()}
    wait_until(lambda: reported(reports) >= every_day, second, log)
    wait_until(lambda: _is_idle(reports), second, log)
    begun = time.monotonic()
    second.send_signal(signal.SIGTERM)
    assert second.wait(timeout=STALLED_S) == 0, log.read_text()
    waited_s = time.monotonic() - begun
    assert waited_s < watch.RETRY_S / 5, "it did not end while it had nothing to do"


def _is_idle(reports: Path) -> bool:
    """Yesterday, the last day, has its report and its place in the calendar."""
    yesterday = datetime.now(UTC).date() - timedelta(1)
    return f'href="{yesterday}/index.html"' in (reports / "index.html").read_text()
