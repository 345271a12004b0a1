"""A stand-in for `python -m training`, and what a person does with the pages of commands."""

import json
import re
import sys
import time

import pytest

from console.versions.action_commands import Tools

# Stands for `python`: it notes its arguments and waits where it is told to.
FAKE = """
import json, os, pathlib, sys, time
here = pathlib.Path(__file__).parent
with (here / "runs").open("a") as file:
    file.write(json.dumps([sys.argv[1:], os.environ["DIGITS_PROMOTED_BY"]]) + "\\n")
print("said \\x1b[1mthis")
while (here / "wait").exists():
    time.sleep(0.02)
sys.exit(int((here / "code").read_text()) if (here / "code").exists() else 0)
"""


@pytest.fixture
def fake(tmp_path):
    """A folder: `runs` has the calls; `wait` makes them wait, `code` fail."""
    folder = tmp_path / "fake"
    folder.mkdir()
    (folder / "program.py").write_text(FAKE)
    yield folder
    (folder / "wait").unlink(missing_ok=True)


@pytest.fixture
def tools(fake):
    return Tools(python=(sys.executable, str(fake / "program.py")), packages=(), lock_folder=fake)


def ask(client, kind="rollback", subject="1", why="it reads 4 as 9"):
    sent = {"kind": kind, "subject": subject, "why": why, "csrf": client.csrf}
    return client.post("/models/actions", data=sent)


def run(client, answer):
    return client.post(f"{answer.url.path}/run", data={"csrf": client.csrf})


def runs(fake):
    path = fake / "runs"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(client, answer, *states, seconds=30.0):
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        text = client.get(answer.url.path).text
        if (state := re.search(r'data-state="(\w+)"', text).group(1)) in states:
            return text
        time.sleep(0.05)
    pytest.fail(f"after {seconds} s it is {state}")
