"""Starts an example as its users do, asks it and stops it."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from own_server import free_port, wait_until_ready

ROOT = Path(__file__).parents[2]


class RunningExample:
    """A server process with a key, a spool and a body limit of its own."""

    def __init__(self, name, folder, *, root=ROOT, **settings):
        self.port = free_port()
        folder.mkdir(exist_ok=True)
        self.spool = folder / "spool"
        keys = folder / "keys.json"
        made = subprocess.run(
            [sys.executable, "-m", "serving.keys", "new", "--site", "test", "--file", keys],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        self.key = re.search(r"key \(shown once\): (\S+)", made.stdout)[1]
        self.log = folder / "log"
        variables = {
            "port": self.port,
            "api_keys_file": keys,
            "capture_dir": self.spool,
            "drain_s": 1,
            **settings,
        }
        environment = {f"DIGITS_{name.upper()}": str(value) for name, value in variables.items()}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [python_of(name), "-m", "serving", "--app", f"examples.{name}.service:build"],
                cwd=root,
                env={**os.environ, "PYTHONPATH": str(root), **environment},
                stderr=log,
            )

    def wait(self):
        wait_until_ready(self.port, self.process, self.log)
        return self

    def ask(self, method, path, body=None, *, key=True, content_type="application/json"):
        headers = {"authorization": f"Bearer {self.key}"} if key else {}
        if body is not None:
            headers["content-type"] = content_type
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            return reply.status, reply.read(), dict(reply.getheaders())
        finally:
            connection.close()

    def ask_at_once(self, path, bodies, **options):
        """The statuses of requests that are sent together."""
        with ThreadPoolExecutor(len(bodies)) as pool:
            replies = pool.map(lambda body: self.ask("POST", path, body, **options), bodies)
            return [status for status, *_ in replies]

    def metric(self, name):
        """The sum of a metric's series."""
        text = self.ask("GET", "/metrics")[1].decode()
        values = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
        assert values, f"{name} is not in the metrics"
        return sum(map(float, values))

    def stop(self):
        """SIGTERM; the exit code, once it has ended."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def python_of(name):
    """The Python of an example: its own, where its champion is not shipped."""
    own = ROOT / ".work" / "examples" / name / "venv" / "bin" / "python"
    is_shipped = (ROOT / "examples" / name / "champion").exists()
    if not is_shipped:
        made_champion(name)
    return sys.executable if is_shipped else own


def made_champion(name):
    """The champion of an example that ships none: its packages are installed, and it is made."""
    subprocess.run(["make", "example-champion", f"NAME={name}"], cwd=ROOT, check=True, timeout=1800)
    return ROOT / ".work" / "examples" / name / "champion"


def detail(reply):
    return json.loads(reply[1])["detail"]
