import sys
import time

import pytest

from loadtest.process import Tree

CHILD = "import time; print('up', flush=True); time.sleep(60)"
DETACHED = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {CHILD!r}], start_new_session=True)
time.sleep(60)
"""
BUSY = "while True: pass"


@pytest.fixture
def start(tmp_path):
    trees = []

    def run(code: str) -> Tree:
        tree = Tree([sys.executable, "-c", code], core=None, env={}, log=tmp_path / "log")
        trees.append(tree)
        return tree

    yield run
    for tree in trees:
        tree.terminate(grace_s=5)


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_detached_child_belongs_to_the_tree_and_is_stopped_with_it(start):
    tree = start(DETACHED)
    wait_for(lambda: len(tree.pids()) == 2)
    tree.terminate(grace_s=5)
    assert tree.pids() == []


def test_processor_time_grows_while_running_and_not_while_paused(start):
    tree = start(BUSY)
    wait_for(lambda: tree.cpu_s() > 0.1)
    tree.pause()
    time.sleep(0.05)
    before = tree.cpu_s()
    time.sleep(0.2)
    assert tree.cpu_s() == before
    tree.resume()
    wait_for(lambda: tree.cpu_s() > before)


def test_a_running_tree_has_memory(start):
    tree = start(CHILD)
    wait_for(lambda: tree.memory().rss_bytes > 1_000_000)
    memory = tree.memory()
    assert 0 < memory.pss_bytes <= memory.rss_bytes


def test_a_process_that_ignores_sigterm_is_killed(start, tmp_path):
    tree = start(f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {CHILD}")
    wait_for(lambda: (tmp_path / "log").read_text())
    assert tree.terminate(grace_s=0.2) is None
    assert tree.pids() == []
