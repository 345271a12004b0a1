"""Somebody with two terminals who follows a tutorial of docs/: files, commands, their output.

A python block below a line that begins with a file's name is that file. A block of sh is run; one
that starts a server runs on beside the others. A block of text or json has what the commands before
it print, or the server's log says, line by line; a `curl` is asked until it does.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from own_server import free_port, wait_until_ready

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"(?:^`(\w+\.py)`[^\n]*\n)?^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SERVERS = ("python -m serving --app", "make serve")
_NUMBER = re.compile(r"\d+\.\d+(?:e-?\d+)?")


class TutorialReader:
    """Follows one page in a folder of its own."""

    def __init__(self, page, folder, *, patience_s=120.0):
        self.blocks = [match.groups(default="") for match in _BLOCK.finditer(page)]
        self.folder = folder
        self.patience_s = patience_s  # for an answer or a line of the log
        self.port = free_port()
        self.server = None
        self.log = folder / "service.log"
        self.printed = ""
        self.key = ""
        self.again = ""  # a question that may be asked until the answer is there
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DIGITS_", "MLFLOW_"))}
        self.environment = {
            **kept, "PATH": path, "PYTHONPATH": str(ROOT), "DIGITS_PORT": str(self.port),
        }  # fmt: skip

    def follow(self):
        """Do the whole page; an AssertionError names what it promises and does not keep."""
        try:
            for name, language, text in self.blocks:
                mine = text.replace("localhost:3000", f"localhost:{self.port}")
                if name:
                    (self.folder / name).write_text(mine)
                elif language == "sh":
                    self._do(mine)
                elif language in ("text", "json"):
                    self._expect(text, language)
        finally:
            if self.server is not None and self.server.poll() is None:
                self._stop()

    def _do(self, command):
        if "make setup" in command:
            return
        if any(one in command for one in _SERVERS):
            self._start(command)
            return
        if "monitoring ship" in command:  # the page says before it to stop the service
            self._stop()
        command = command.replace("KEY=...", f"KEY={self.key}").replace("PID", self._pid())
        self._run(command)
        self.again = command if command.startswith("curl") else ""

    def _run(self, command):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        self.printed = done.stdout + done.stderr
        made = re.search(r"key \(shown once\): (\S+)", self.printed)
        self.key = made[1] if made else self.key

    def _start(self, command):
        command = command.replace("make serve", "python -m serving")
        *before, last = command.strip().splitlines()
        with self.log.open("w") as file:
            self.server = subprocess.Popen(
                ["bash", "-c", "\n".join([*before, f"exec env {last}"])],
                cwd=self.folder, env=self.environment, stderr=file,
            )  # fmt: skip
        self.printed = ""
        wait_until_ready(self.port, self.server, self.log)

    def _stop(self):
        self.server.send_signal(signal.SIGTERM)
        assert self.server.wait(60) == 0, self.log.read_text()

    def _pid(self):
        found = re.search(r'"pid": (\d+)', self.log.read_text()) if self.log.exists() else None
        return found[1] if found else "PID"

    def _expect(self, text, language):
        lines = text.splitlines()
        if language == "json":
            lines = ["".join(line.strip() for line in lines)]
        give_up = time.monotonic() + self.patience_s
        while missing := [line for line in lines if _as_shown(line) not in self._seen()]:
            assert time.monotonic() < give_up, f"{missing[0]!r} is not in\n{self._seen()}"
            time.sleep(0.5)
            if self.again:
                self._run(self.again)

    def _seen(self):
        log = self.log.read_text() if self.log.exists() else ""
        return _as_shown(f"{self.printed}\n{log}")


def _as_shown(text):
    """Without what differs each time: ids, and digits after the third, for other processors."""
    text = re.sub(r'"request_id":"[^"]+"', "", text)
    return _NUMBER.sub(lambda match: f"{float(match[0]):.3g}", text)
