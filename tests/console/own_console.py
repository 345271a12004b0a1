"""A real console process on a test's stores, and people who are signed in to it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from own_server import free_port
from sqlalchemy import select

from console.tables import SessionRow
from serving.edge.key_ring import new_key

ROOT = Path(__file__).parents[2]


@pytest.fixture
def start_console(console, tmp_path):
    """start_console() -> a real console on this test's stores, and its address."""
    key, entry = new_key("office", ["label"], None)
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [entry]}))
    keys.chmod(0o600)
    settings = console.settings
    environment = {name: value for name, value in os.environ.items() if "DIGITS_" not in name} | {
        "DIGITS_API_KEYS_FILE": str(keys),
        "DIGITS_CAPTURE_DIR": str(settings.capture.spool),
        "DIGITS_CAPTURE_STORE": str(tmp_path / "captures"),
        "DIGITS_CONSOLE_DATABASE": settings.database,
    }
    started = []

    def run():
        port = free_port()
        command = [sys.executable, "-m", "console", "--port", str(port)]
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        started.append(process)
        url = f"http://127.0.0.1:{port}"
        give_up = time.monotonic() + 90
        while process.poll() is None and time.monotonic() < give_up:
            try:
                httpx.get(f"{url}/livez", timeout=5)
            except httpx.HTTPError:
                time.sleep(0.2)
            else:
                return process, url, key
        raise AssertionError((tmp_path / "log").read_text()[-2000:])

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def sign_in(console, url, key, who):
    client = httpx.Client(base_url=url, timeout=30)
    client.post("/sign-in", data={"who": who, "key": key})
    with console.transaction() as database:
        tokens = select(SessionRow.csrf).where(SessionRow.who == who)
        client.headers["x-csrf-token"] = database.scalars(
            tokens.order_by(SessionRow.expires_us.desc())
        ).first()
    return client
