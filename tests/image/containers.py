"""Starts our images as they are deployed: read-only, no root, no capabilities."""

import asyncio
import json
import os
import subprocess
import time
from dataclasses import dataclass

from loadtest import servers
from loadtest.clients.http1 import Connection, Request

IMAGE = os.environ.get("DIGITLINE_IMAGE", "")
JOBS = os.environ.get("DIGITLINE_JOBS_IMAGE", "")
DRAIN_S = 2
KEY = "image-test-key-0123456789abcdef0123456789abcdef"
HARDENED = (
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)


LIMITS = ("--network=host", "--memory=512m", "--cpus=1")


def podman(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def environment(settings: dict[str, str]) -> list[str]:
    return [f"--env={name}={value}" for name, value in settings.items()]


@dataclass
class Container:
    name: str
    port: int
    ready_s: float


def start(name: str, *flags: str, **settings: str) -> Container:
    """Start the service with 512 MB and one CPU, and wait until it is ready."""
    port = servers.free_port()
    settings = {
        "DIGITS_HOST": "127.0.0.1",  # the tests use this machine's network
        "DIGITS_PORT": str(port),
        "DIGITS_AUTH": "on",
        "DIGITS_API_KEYS_JSON": servers.api_keys_json([KEY]),
        "DIGITS_DRAIN_S": str(DRAIN_S),
    } | settings
    podman("rm", "--force", "--time=0", name, check=False)
    begun = time.perf_counter()
    started = ("run", "--detach", f"--name={name}", *HARDENED, *LIMITS, *flags)
    podman(*started, *environment(settings), IMAGE)
    while not servers.is_ready(port):
        assert time.perf_counter() - begun < 60, podman("logs", name)
        time.sleep(0.02)
    return Container(name, port, time.perf_counter() - begun)


def request(png: bytes) -> Request:
    return Request("/v1/digit", "image/png", png, {"X-Api-Key": KEY})


def run_python(statement: str) -> float:
    """Seconds that a container of the image takes to run a statement and exit."""
    begun = time.perf_counter()
    podman("run", "--rm", *HARDENED, *LIMITS, IMAGE, "python", "-c", statement)
    return time.perf_counter() - begun


def read(container: Container, png: bytes) -> dict[str, object]:
    async def post():
        connection = await Connection.open("127.0.0.1", container.port)
        answer = await connection.send(request(png).wire("127.0.0.1"))
        connection.close()
        assert answer.status == 200, answer.body
        return json.loads(answer.body)

    return asyncio.run(post())
