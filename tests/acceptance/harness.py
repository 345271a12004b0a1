"""What every check needs: a server, requests with known answers, and a report of counts."""

import asyncio
import contextlib
import functools
import http.client
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtest import digit_crops, servers
from loadtest.bench.catalog import SERVERS
from loadtest.clients import openloop
from loadtest.clients.http1 import Answer, Request, multipart
from loadtest.process import Tree

ROOT = Path(__file__).parents[2]
FAULTS = Path(__file__).parent / "faults"
OURS, STOCK, STOCK_BATCH = "digitline", "bentoml", "bentoml-batchable"
START_WITHIN_S = 60.0


class DoesNotApply(Exception):
    """The check is for a feature that the server under test does not have."""


def only_ours(kind: str) -> None:
    """Skip a check that applies to our service only.

    Raises:
        DoesNotApply: the server under test is another one.
    """
    if kind != OURS:
        raise DoesNotApply


@dataclass
class Report:
    """The counts of one check, and the expectations that it missed."""

    name: str
    is_quick: bool = False  # fewer repetitions, for CI
    facts: dict[str, Any] = field(default_factory=dict)
    misses: list[str] = field(default_factory=list)

    def fact(self, name: str, value: Any) -> None:
        """Record and print a count."""
        self.facts[name] = round(value, 3) if isinstance(value, float) else value
        print(f"  {name}: {self.facts[name]}", flush=True)

    def expect(self, wanted: str, is_so: object) -> None:
        """Record a miss unless `is_so`."""
        if not is_so:
            self.misses.append(wanted)
            print(f"  MISS: {wanted}", flush=True)


class Service:
    """A running server under test; leaving the `with` block stops it.

    Args:
        kind: OURS, or a stock BentoML service.
        env: settings.
        faults: enables `harm`.
        core: CPU that the whole process tree is pinned to.
        port: to listen on; None: any free one.
        folder: a copy of the project to run.
        prefix: a command that restricts the server and runs it.
    """

    def __init__(
        self,
        kind: str = OURS,
        *,
        env: Mapping[str, str] | None = None,
        faults: bool = False,
        core: int | None = None,
        port: int | None = None,
        folder: Path = ROOT,
        prefix: Sequence[str] = (),
    ) -> None:
        self.kind = kind
        self.port = port or free_port()
        self._home = tempfile.TemporaryDirectory(prefix="acceptance-", ignore_cleanup_errors=True)
        self.folder = Path(self._home.name)
        self._faults = self.folder / "faults.json"
        variables = dict(env or {}) | {"BENTOML_DO_NOT_TRACK": "True", "OMP_NUM_THREADS": "1"}
        variables["PYTHONPATH"] = f"{folder}:{FAULTS}" if faults else str(folder)
        variables["ACCEPTANCE_FAULTS"] = str(self._faults)
        variables["BENTOML_HOME"] = str(self.folder / "bentoml")
        variables["DIGITS_PORT"] = str(self.port)
        self.log_path = self.folder / "server.log"
        argv = [*prefix, *self._command()]
        argv = ["env", f"--chdir={folder}", *argv]
        self.tree = Tree(argv, core=core, env=variables, log=self.log_path)
        try:
            self.wait_ready()
        except BaseException:
            self.stop(grace_s=0)
            raise

    def _command(self) -> list[str]:
        if self.kind == OURS:
            return [sys.executable, "-m", "serving"]
        server = SERVERS[self.kind]
        programs = servers.set_up(server)
        return server.command(servers.Place(self.folder, self.port, programs))

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(grace_s=0)
        self._home.cleanup()

    def wait_ready(self) -> float:
        """Wait until the server is ready; the seconds it took."""
        begun = time.perf_counter()
        while self.status("/readyz") != 200:
            if time.perf_counter() - begun > START_WITHIN_S or not self.tree.is_alive():
                raise TimeoutError(f"{self.kind} is not ready; its log ends: {self.log[-2000:]}")
            time.sleep(0.02)
        return time.perf_counter() - begun

    def stop(self, *, grace_s: float) -> int | None:
        """Send SIGTERM, and SIGKILL after `grace_s`; the exit code, None if killed."""
        return self.tree.terminate(grace_s=grace_s)

    def harm(self, **faults: float) -> None:
        """Inject faults from now on (see faults/sitecustomize.py); without arguments: none."""
        scratch = self._faults.with_suffix(".new")
        scratch.write_text(json.dumps(faults))
        scratch.replace(self._faults)

    @property
    def log(self) -> str:
        """What the server has logged so far."""
        return self.log_path.read_text(errors="replace")

    def get(self, path: str, timeout_s: float = 5.0) -> tuple[int, dict[str, str], bytes]:
        """GET on a new connection; status 0 if there is no answer."""
        return self.ask("GET", path, timeout_s=timeout_s)

    def status(self, path: str, timeout_s: float = 2.0) -> int:
        """The status of a GET."""
        return self.get(path, timeout_s)[0]

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 5.0,
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on a new connection; status 0 if there is no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            lower = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, lower, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, {}, b""
        finally:
            connection.close()

    def read(self, png: bytes, timeout_s: float = 5.0) -> tuple[int, dict[str, str], bytes]:
        """Have one crop read."""
        request = self.crop_request(png)
        headers = {"Content-Type": request.content_type}
        return self.ask("POST", request.path, request.body, headers, timeout_s)

    def crop_request(self, png: bytes, headers: Mapping[str, str] | None = None) -> Request:
        """The request for one crop, in the form that this server takes."""
        if self.kind == OURS:
            return Request("/v1/digit", "image/png", png, headers or {})
        server = SERVERS[self.kind]
        return multipart(server.path, server.form_field or "", [png], headers or {})

    def rss_mb(self) -> float:
        """Resident memory of the process tree."""
        return self.tree.memory().rss_bytes / 1e6

    def peak_rss_mb(self) -> float:
        """The largest resident memory that the workers have had; a sum over them."""
        return sum(_peak_kb(pid) for pid in self.worker_pids()) / 1e3

    def worker_pids(self) -> list[int]:
        """The worker processes."""
        mark = b"serving.server.worker" if self.kind == OURS else b"worker.service"
        return [pid for pid in self.tree.pids() if mark in _command_line(pid)]

    def num_files(self) -> int:
        """Open files of all workers."""
        return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in self.worker_pids())


def _command_line(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _peak_kb(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


class Load:
    """Requests with real crops; an answer is right if it equals the server's to the crop alone.

    Args:
        service: gives the expected answers.
        headers: added to each request.
        pngs: the crops; None: a spread of real ones.
    """

    def __init__(
        self,
        service: Service,
        headers: Mapping[str, str] | None = None,
        pngs: Sequence[bytes] | None = None,
    ) -> None:
        if pngs is None:
            pngs = [crop.png for crop in digit_crops.spread(digit_crops.load(), 50)]
        requests = [service.crop_request(png, headers) for png in pngs]
        self.wires = [request.wire("127.0.0.1") for request in requests]
        self.expected: list[Any] = []
        for request in requests:
            sent = {"Content-Type": request.content_type, **(headers or {})}
            status, _, body = service.ask("POST", request.path, request.body, sent)
            assert status == 200, (status, body)
            self.expected.append(_digit(body))

    def is_right(self, number: int, answer: Answer) -> bool:
        """Whether the answer has the digit that the server returned for this crop alone."""
        return bool(_digit(answer.body) == self.expected[number % len(self.expected)])

    async def run(
        self, port: int, rps: float, duration_s: float, **options: Any
    ) -> openloop.Sample:
        """Send requests at a constant rate, without waiting for earlier answers."""
        arrivals = openloop.constant(rps, duration_s)
        return await openloop.drive(
            "127.0.0.1", port, self.wires, arrivals, is_right=self.is_right, **options
        )


def _digit(body: bytes) -> Any:
    found = json.loads(body)
    return (found[0] if isinstance(found, list) else found)["digit"]


def during(load: Callable[[], Any], harm: Callable[[], None], after_s: float) -> Any:
    """Run `load`, a coroutine function, and after `after_s` run `harm` on another thread."""

    async def both() -> Any:
        task = asyncio.create_task(load())
        await asyncio.sleep(after_s)
        await asyncio.to_thread(harm)
        return await task

    return asyncio.run(both())


@functools.lru_cache(maxsize=1)
def one_crop() -> bytes:
    """A readable crop as PNG."""
    return digit_crops.load()[3].png


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """Pin the load generator to one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
