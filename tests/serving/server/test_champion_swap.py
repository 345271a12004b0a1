"""The champion is exchanged under a real service at saturation; the service is killed meanwhile."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from asgi import form

from model.artifact import CHAMPION, SERVED_FILES
from model.champion_files import sealed
from training.champion_switch import swap

ROOT = Path(__file__).parents[3]
PATIENCE_S = 90
NUM_SWAPS = 6
NUM_CONNECTIONS = 12
NUM_CROPS = 40  # more than a batch takes, so a request has several
VERSIONS = ("cool", "warm")


def write(folder, version):
    """The shipped model under another name; a higher temperature makes the warm one less sure."""
    folder.mkdir()
    for name in SERVED_FILES:
        shutil.copy(CHAMPION / name, folder / name)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["version"] = version
    manifest["golden"]["min_confidence"] = 0.0
    if version == "warm":
        manifest["temperature"] *= 4
    (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))
    return folder


@contextmanager
def service(folder, log, num_workers):
    """A service on the champion of this folder, with all its workers ready: (process, port)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if "DIGITS_" not in name}
    environment |= {
        "DIGITS_PORT": str(port), "DIGITS_WORKERS": str(num_workers), "DIGITS_DRAIN_S": "0",
        "DIGITS_MAX_QUEUE_WAIT_MS": "60000", "DIGITS_REQUEST_DEADLINE_MS": "60000",
        "DIGITS_CHAMPION": str(folder), "DIGITS_SITE_BREAKER": "off",
    }  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving"], cwd=ROOT, env=environment, stdout=output,
            stderr=output,
        )  # fmt: skip
    try:
        wait_for(lambda: log.read_text().count('"worker ready"') == num_workers, log, process)
        yield process, port
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()
            process.wait()


def wait_for(condition, log, process):
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < give_up, log.read_text()
        time.sleep(0.05)


class Load(threading.Thread):
    """Sends the same request over one connection until it is told to stop."""

    def __init__(self, port, request, stop):
        super().__init__(daemon=True)
        self.port, self.request, self.stop = port, request, stop
        self.answers = []
        self.error = None

    def run(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            while not self.stop.is_set():
                path, body, kind = self.request
                connection.request("POST", path, body, {"content-type": kind})
                answer = connection.getresponse()
                content = answer.read()
                self.answers.append((answer.status, answer.headers["x-model-version"], content))
            connection.close()
        except Exception as error:  # noqa: BLE001  the test reports it
            self.error = error


def confidences_of(content):
    return [one["confidence"] for one in content.get("results", [content])]


@pytest.mark.slow
def test_swaps_at_saturation_fail_no_request_and_mix_no_versions(tmp_path, crops):
    champion = write(tmp_path / "champion", "cool")
    log = tmp_path / "log"
    kind, body = form(*(crop.png for crop in crops[:NUM_CROPS]))
    requests = [("/v1/digits", body, kind), ("/v1/digit", crops[0].png, "image/png")]
    stop = threading.Event()
    with service(champion, log, num_workers=2) as (process, port):
        load = [Load(port, requests[n % 3 == 0], stop) for n in range(NUM_CONNECTIONS)]
        for one in load:
            one.start()
        for number in range(NUM_SWAPS):
            swap(write(tmp_path / f"next-{number}", VERSIONS[(number + 1) % 2]), champion)
            process.send_signal(signal.SIGHUP)
            wait_for(
                lambda number=number: log.read_text().count('"champion exchanged"')
                == 2 * (number + 1),
                log, process,
            )  # fmt: skip
            time.sleep(0.5)
        stop.set()
        for one in load:
            one.join(PATIENCE_S)
    assert [one.error for one in load if one.error] == []
    answers = [answer for one in load for answer in one.answers]
    assert {status for status, _, _ in answers} == {200}
    seen = {}
    for _, header, content in answers:
        found = json.loads(content)
        assert found["model_version"] == header
        key = (header, len(confidences_of(found)))
        seen.setdefault(key, set()).add(tuple(round(c, 5) for c in confidences_of(found)))
    # One answer of each kind from each version: no crop of a request was read by the other one.
    assert set(seen) == {(version, size) for version in VERSIONS for size in (1, NUM_CROPS)}
    assert {key: len(found) for key, found in seen.items()} == dict.fromkeys(seen, 1)


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.0, 0.03, 0.1])
def test_a_service_that_is_killed_while_it_swaps_starts_with_the_new_champion(tmp_path, after_s):
    champion = write(tmp_path / "champion", "cool")
    new = write(tmp_path / "new", "warm")
    with service(champion, tmp_path / "log", num_workers=1) as (process, _):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        swap(new, champion)
        process.send_signal(signal.SIGHUP)
        time.sleep(after_s)
        for pid in (process.pid, *map(int, children)):
            os.kill(pid, signal.SIGKILL)
        process.wait()
    with service(champion, tmp_path / "log", num_workers=1) as (_, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/v1/model")
        assert json.loads(connection.getresponse().read())["version"] == "warm"
        connection.close()
