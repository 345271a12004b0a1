"""A server under test: its venv, its command, its port, and whether it is ready.

`ours` is our own service; the other servers of the benchmark are in bench/catalog.py.
"""

import asyncio
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from loadtest.clients.http1 import BrokenAnswer, Connection, Request, multipart
from loadtest.digit_crops import LabelledCrop
from loadtest.process import Tree

ROOT: Final = Path(__file__).parents[1]
PEERS: Final = ROOT / "loadtest" / "bench" / "peers"
SERVER_CORE: Final = 0
CLIENT_CORE: Final = 1
OURS: Final = "digitline"
FIRST_PORT: Final = 21_000
LAST_PORT: Final = 31_000
PORTS_EACH: Final = 5
API_KEY: Final = "loadtest-key-0123456789abcdef0123456789abcdef"
_QUIET: Final = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where one server runs: the folder for its files, its port, the `bin` of its venv."""

    folder: Path
    port: int
    bin: Path


@dataclass(frozen=True, slots=True)
class Server:
    """One server under test.

    `command` may write files into the place's folder.
    """

    name: str
    label: str
    venv: str | None  # name of the peer's requirements file and venv; None: this project's venv
    command: Callable[[Place], list[str]]
    path: str = "/digit"
    form_field: str | None = None  # None: the crop is the raw body
    headers: Mapping[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    can_pause: bool = True
    warms_up: bool = False  # compiles while it runs, so load it until its rate is flat

    def request(self, crop: LabelledCrop) -> Request:
        """A request for one crop, in the form that this server accepts."""
        if self.form_field is None:
            return Request(self.path, crop.media_type, crop.png, self.headers)
        return multipart(
            self.path, self.form_field, [crop.png], self.headers, media_type=crop.media_type
        )


class NotInstalled(RuntimeError):
    """The server's packages could not be installed; the message holds pip's output."""


def api_keys_json(keys: list[str]) -> str:
    """The key file of our service for these keys, one site each."""
    entries = [
        {
            "site": f"site-{number}",
            "sha256": hashlib.sha256(key.encode()).hexdigest(),
            "scopes": ["predict"],
            "expires": None,
        }
        for number, key in enumerate(keys)
    ]
    return json.dumps({"keys": entries})


def as_shipped(place: Place) -> list[str]:
    """The command of `make serve` and of the image."""
    port = f"DIGITS_PORT={place.port}"
    return ["env", port, str(place.bin / "python"), "-m", "serving"]


def ours(
    keys: list[str],
    *,
    name: str = OURS,
    label: str = "**Digitline**",
    command: Callable[[Place], list[str]] = as_shipped,
) -> Server:
    """Our service as shipped: metrics, keys and limits on."""
    return Server(
        name,
        label,
        None,
        command,
        path="/v1/digit",
        headers={"X-Api-Key": keys[0]},
        env={"DIGITS_AUTH": "on", "DIGITS_API_KEYS_JSON": api_keys_json(keys)},
    )


def set_up(server: Server) -> Path:
    """Make the server's venv if it is absent or outdated; return its `bin` folder.

    Raises:
        NotInstalled: pip could not install the pinned requirements.
    """
    if server.venv is None:
        return Path(sys.executable).parent
    venv = ROOT / f".venv-peer-{server.venv}"
    wanted = (PEERS / f"{server.venv}.txt").read_text()
    stamp = venv / "installed.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(venv, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        pip = [str(venv / "bin" / "pip"), "install", "--quiet", "--no-deps"]
        finished = subprocess.run(
            [*pip, "-r", str(PEERS / f"{server.venv}.txt")],
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode:
            raise NotInstalled(f"{server.label}: {finished.stderr.strip()[-300:]}")
        stamp.write_text(wanted)
    return venv / "bin"


def start(server: Server, folder: Path, core: int = SERVER_CORE) -> tuple[Tree, int]:
    """Start a server on one core; return its process tree and port, before it is ready.

    Args:
        server: the server to start.
        folder: for its files and its log; empty or absent.
        core: the core that it is pinned to.

    Raises:
        NotInstalled: as `set_up`.
    """
    programs = set_up(server)
    folder.mkdir(parents=True, exist_ok=True)
    place = Place(folder, free_port(), programs)
    home = {"BENTOML_HOME": str(folder / "bentoml"), "TMPDIR": str(folder), "LOG_LOCATION": "logs"}
    search = {"PYTHONPATH": str(ROOT), "PATH": f"{programs}:{os.environ['PATH']}"}
    argv = server.command(place)
    tree = Tree(
        argv,
        core=core,
        env=_QUIET | home | search | server.env,
        log=folder / "server.log",
    )
    return tree, place.port


def free_port() -> int:
    """The first of `PORTS_EACH` free ports, below the kernel's ephemeral range."""
    for first in range(FIRST_PORT, LAST_PORT, PORTS_EACH):
        if all(_is_free(first + offset) for offset in range(PORTS_EACH)):
            return first
    raise OSError(f"no {PORTS_EACH} free ports in a row from {FIRST_PORT} to {LAST_PORT}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def wait_until(condition: Callable[[], bool], tree: Tree, *, timeout_s: float) -> float:
    """Poll every 10 ms until the condition holds; return the seconds waited.

    Raises:
        TimeoutError: the condition did not hold in time, or the server ended.
    """
    begun = time.perf_counter()
    while not condition():
        waited_s = time.perf_counter() - begun
        if not tree.is_alive() or waited_s > timeout_s:
            state = "still runs" if tree.is_alive() else "ended"
            raise TimeoutError(
                f"not ready after {waited_s:.1f} s (limit {timeout_s:g} s); the server {state}"
            )
        time.sleep(0.01)
    return time.perf_counter() - begun


def is_ready(port: int) -> bool:
    """Whether our service answers /readyz with 200."""

    async def ask() -> int:
        connection = await Connection.open("127.0.0.1", port)
        try:
            return (await connection.get("/readyz")).status
        finally:
            connection.close()

    try:
        return asyncio.run(ask()) == 200
    except (OSError, BrokenAnswer):
        return False
