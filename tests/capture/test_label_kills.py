"""SIGKILL of a real service between a label's acknowledgement and its shipping loses no label."""

import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest
from own_server import free_port, wait_until_ready

from capture import ship
from capture.labels import read_events
from capture.store import open_store

ROOT = Path(__file__).parents[2]
NUM_SENDERS, NUM_REQUESTS, KILL_AFTER = 4, 400, 60
ID = "0193465c-5800-7000-8000-{:012d}"


@pytest.fixture
def service(tmp_path):
    """A service that captures, without a shipper: (process, port, spool)."""
    spool, number = tmp_path / "spool", free_port()
    environment = {name: value for name, value in os.environ.items() if "DIGITS_" not in name}
    environment |= {"DIGITS_PORT": str(number), "DIGITS_CAPTURE_DIR": str(spool)}
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving"], cwd=ROOT, env=environment, stdout=output,
            stderr=output,
        )  # fmt: skip
    try:
        wait_until_ready(number, process, log)
        yield process, number, spool
    finally:
        if process.poll() is None:
            kill(process)
        process.wait()


def kill(process):
    """Kill the supervisor and its workers, which would otherwise drain when it is gone."""
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in (process.pid, *map(int, workers)):
        os.kill(pid, signal.SIGKILL)


def send(port, number):
    """Send one label; its event id where it was acknowledged, None where the service was gone."""
    label = {
        "read_id": ID.format(number), "crop_index": 0, "label": number % 10, "who": "ada",
        "when": "2026-11-20T08:15:30Z", "how": "keyed",
    }  # fmt: skip
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/labels", json.dumps(label).encode(),
        {"content-type": "application/json"},
    )  # fmt: skip
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)["results"][0]["event_id"]
    except OSError:
        return None


@pytest.mark.slow
def test_no_acknowledged_label_is_lost_by_a_kill_before_it_is_shipped(service, tmp_path):
    process, port, spool = service
    acknowledged, turn = [], threading.Lock()

    def label(number):
        event_id = send(port, number)
        if event_id is not None:
            with turn:
                acknowledged.append(event_id)
                if len(acknowledged) == KILL_AFTER:
                    kill(process)  # while labels arrive

    with concurrent.futures.ThreadPoolExecutor(NUM_SENDERS) as senders:
        list(senders.map(label, range(NUM_REQUESTS)))
    assert KILL_AFTER <= len(acknowledged) < NUM_REQUESTS
    store = open_store(str(tmp_path / "store"))
    ship.ship_once(spool, store)
    stored = read_events(store)["event_id"].tolist()
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))
