"""The supervisor of real processes that are no real workers."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from serving.server import supervisor
from serving.server.handover import bind
from serving.server.supervisor import Supervisor

PATIENCE_S = 30
# Reports that it lives, ten times a second, until it is stopped; ignores SIGTERM if told so.
WORKER = """
import os, signal, sys, time
if sys.argv[1] == "stubborn": signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    os.write(int(sys.argv[2]), b"1")
    time.sleep(0.1)
"""


class FakeWorkers:
    """Starts WORKER in place of the real worker; knows the processes."""

    def __init__(self):
        self.kind = "tame"
        self.processes = []

    def __call__(self, command, *, env, pass_fds, process_group):
        alive = command[-1].removeprefix("--alive=")
        fake = [sys.executable, "-c", WORKER, self.kind, alive]
        self.processes.append(POPEN(fake, env=env, pass_fds=pass_fds, process_group=process_group))
        return self.processes[-1]


POPEN = subprocess.Popen


@pytest.fixture
def workers(monkeypatch):
    fake = FakeWorkers()
    monkeypatch.setattr(supervisor.subprocess, "Popen", fake)
    monkeypatch.setattr(supervisor, "SILENT_S", 1.0)
    monkeypatch.setattr(supervisor, "WAIT_S", 0.2)
    yield fake
    for process in fake.processes:
        process.kill()
        process.wait()


def supervise(workers, act, stop_within_s=20.0):
    """Run a supervisor here and `act` in a thread; then stop it. The exit code."""

    def act_and_stop():
        try:
            act()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    before = {number: signal.getsignal(number) for number in supervisor._HANDLED}
    actor = threading.Thread(target=act_and_stop)
    with bind("127.0.0.1", 0) as listener:
        try:
            actor.start()
            code = Supervisor(
                listener, app="none:none", num_workers=1, stop_within_s=stop_within_s
            ).run()
        finally:
            actor.join()
            for number, handler in before.items():
                signal.signal(number, handler)
    return code


def until(condition):
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_a_stopped_worker_is_killed_and_replaced(workers, capfd):
    def act():
        until(lambda: "worker ready" in capfd.readouterr().err)
        os.kill(workers.processes[0].pid, signal.SIGSTOP)
        until(lambda: len(workers.processes) == 2)

    assert supervise(workers, act) == 0
    assert workers.processes[0].returncode == -signal.SIGKILL


def test_a_worker_that_is_stopped_before_the_end_is_killed_at_the_end(workers, capfd):
    def act():
        until(lambda: "worker ready" in capfd.readouterr().err)
        stopped = workers.processes[0].pid
        os.kill(stopped, signal.SIGSTOP)
        until(lambda: ") T " in Path(f"/proc/{stopped}/stat").read_text())

    begun = time.monotonic()
    assert supervise(workers, act, stop_within_s=1000.0) == 0
    assert workers.processes[0].returncode == -signal.SIGKILL
    assert time.monotonic() - begun < PATIENCE_S


def test_a_worker_that_lives_but_does_not_stop_is_killed_in_the_end(workers, capfd):
    workers.kind = "stubborn"

    def act():
        until(lambda: "worker ready" in capfd.readouterr().err)

    assert supervise(workers, act, stop_within_s=2.0) == 0
    assert workers.processes[0].returncode == -signal.SIGKILL


def test_a_busy_supervisor_does_not_blame_its_workers(workers, monkeypatch):
    with bind("127.0.0.1", 0) as listener:
        boss = Supervisor(listener, app="none:none", num_workers=1, stop_within_s=1.0)
        boss._start()
        (worker,) = boss._workers
        until(lambda: boss._wait(0.05) or worker.is_ready)
        boss._looked_at -= 1000.0  # as after SIGSTOP and SIGCONT of the supervisor
        boss._count_silence()
        assert worker.silent_s < 1.0
        boss._selector.close()


def test_metrics_of_a_killed_supervisor_are_removed_when_a_worker_serves(
    workers, monkeypatch, capfd
):
    monkeypatch.setattr(supervisor, "remove_stale_folders", lambda: ["/a/stale/folder"])
    written = []

    def act():
        until(lambda: written.append(capfd.readouterr().err) or "stale" in "".join(written))

    assert supervise(workers, act) == 0
    assert "/a/stale/folder" in "".join(written)
