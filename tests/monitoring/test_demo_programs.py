import os
import socket
import time
from pathlib import Path

import pytest

from monitoring.studies.demo_programs import ProgramFailed, Programs, free_port


@pytest.fixture
def programs(tmp_path):
    started = Programs(tmp_path, dict(os.environ))
    yield started
    started.stop()


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(poll):
    deadline = time.monotonic() + 20
    while not (found := poll()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_a_port_in_use_is_said_and_the_next_one_taken():
    said = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        usual = taken.getsockname()[1]
        port = free_port(usual, what="the console", taken=[], say=said.append)
    assert port > usual
    assert said == [f"port {usual} is in use; the console will be at {port}"]


def test_a_port_that_another_program_of_the_demo_gets_is_not_given_twice():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        usual = found.getsockname()[1]
    assert free_port(usual, what="it", taken=[usual], say=lambda _: None) > usual


def test_what_a_program_has_started_ends_with_it(programs, tmp_path):
    child = "import subprocess, sys; print(subprocess.Popen(['sleep', '600']).pid, flush=True)"
    programs.start("parent", ["-c", f"{child}; import time; time.sleep(600)"])
    pid = int(wait_for(lambda: programs.log("parent").read_text().strip()))
    assert is_alive(pid)
    programs.stop()
    wait_for(lambda: not is_alive(pid))


def test_a_program_that_ignores_sigterm_is_killed(programs, monkeypatch):
    monkeypatch.setattr("monitoring.studies.demo_programs._STOP_S", 0.5)
    code = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    programs.start("stubborn", ["-c", f"{code}; print(os.getpid(), flush=True); time.sleep(600)"])
    pid = int(wait_for(lambda: programs.log("stubborn").read_text().strip()))
    programs.stop()
    assert not is_alive(pid)


def test_a_program_that_ends_by_itself_is_named_with_the_end_of_its_log(programs):
    programs.start("console", ["-c", "import sys; sys.exit('no such setting')"])
    with pytest.raises(ProgramFailed, match=r"console has ended with code 1;[^~]*no such setting"):
        programs.wait_for("console", "http://127.0.0.1:9/", within_s=20)


def test_a_program_that_does_not_answer_is_named_after_the_wait(programs):
    programs.start("service", ["-c", "import time; time.sleep(600)"])
    with pytest.raises(ProgramFailed, match=r"service did not answer at http://127.0.0.1:9/"):
        programs.wait_for("service", "http://127.0.0.1:9/", within_s=0.3)


def test_programs_get_the_environment_that_is_given_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("DIGITS_CAPTURE_DIR", "captures-that-are-real")
    given = {"DIGITS_PORT": "3000", "PATH": os.environ["PATH"]}
    programs = Programs(tmp_path, given)
    programs.start("it", ["-c", "import os; print(sorted(n for n in os.environ if 'DIGITS' in n))"])
    wait_for(lambda: programs.log("it").read_text())
    programs.stop()
    assert programs.log("it").read_text() == "['DIGITS_PORT']\n"
