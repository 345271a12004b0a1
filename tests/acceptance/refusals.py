"""A refusal that comes before the body's end: its status arrives, and nginx bans nobody for it."""

import asyncio
import contextlib
import http.client
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from loadtest.clients.http1 import Request
from tests.acceptance.attackers import repeat
from tests.acceptance.harness import Load, Report, Service, only_ours
from tests.acceptance.neighbours import RPS, keyed, stays_fair
from tests.acceptance.stopping import nginx

PROGRAMS: Final = Path(__file__).parent / "other_clients"
TIMES, QUICK_TIMES, QUICK_CASES = 40, 4, 2
SIZES: Final = (700_000, 8_500_000)
# So that 700 KB are too much whatever the default is.
SMALL_LIMIT: Final = {"DIGITS_MAX_BODY_BYTES": "262144"}


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that is refused before its body has arrived."""

    status: int
    method: str
    path: str
    content_type: str


CASES: Final = (
    Refused(413, "POST", "/v1/digit", "image/png"),
    Refused(401, "POST", "/v1/digits", "application/x-npy"),
    Refused(404, "POST", "/nothing", "image/png"),
    Refused(405, "PUT", "/v1/digit", "image/png"),
    Refused(415, "POST", "/v1/digit", "text/plain"),
)


def direct(report: Report, kind: str) -> None:
    """Five clients, five refusals, two sizes, 40 times each, against the service itself."""
    only_ours(kind)
    with keyed(SMALL_LIMIT) as it:
        _judge(report, it.service.port, it.loud)


def behind_nginx(report: Report, kind: str) -> None:
    """The same through nginx, which may refuse a large body itself."""
    only_ours(kind)
    with keyed(SMALL_LIMIT) as it, nginx([it.service.port]) as port:
        _judge(report, port, it.loud)


def _judge(report: Report, port: int, key: str) -> None:
    times = QUICK_TIMES if report.is_quick else TIMES
    cases = CASES[:QUICK_CASES] if report.is_quick else CASES
    for client, post in CLIENTS.items():
        for size in SIZES:
            counts: Counter[str] = Counter()
            arrived = 0
            for case in cases:
                url = f"http://127.0.0.1:{port}{case.path}"
                found = post(url, case, "wrong" if case.status == 401 else key, size, times)
                if found is None:
                    break
                # 413 too: what is first refused, the path or the size, is the proxy's choice.
                arrived += sum(one in (str(case.status), "413") for one in found)
                counts.update(found)
            if not counts:
                report.fact(f"{client}, {size} bytes", "the client is not installed")
                continue
            report.fact(f"{client}, {size} bytes", [arrived, sum(counts.values()), dict(counts)])
            report.expect(f"{client}, {size} bytes: all arrive", arrived == times * len(cases))


def _post_http_client(url: str, case: Refused, key: str, size: int, times: int) -> list[str]:
    host, path = url.removeprefix("http://").split("/", 1)
    found = []
    for _ in range(times):
        connection = http.client.HTTPConnection(host, timeout=15)
        try:
            headers = {"Content-Type": case.content_type, "X-Api-Key": key}
            connection.request(case.method, "/" + path, bytes(size), headers)
            found.append(str(connection.getresponse().status))
        except (OSError, http.client.HTTPException) as error:
            found.append(type(error).__name__)
        finally:
            connection.close()
    return found


def _post_httpx(url: str, case: Refused, key: str, size: int, times: int) -> list[str]:
    found = []
    headers = {"Content-Type": case.content_type, "X-Api-Key": key}
    with httpx.Client(timeout=15, trust_env=False) as client:  # keeps its connection, as a scanner
        for _ in range(times):
            try:
                answer = client.request(case.method, url, content=bytes(size), headers=headers)
                found.append(str(answer.status_code))
            except httpx.HTTPError as error:
                found.append(type(error).__name__)
    return found


def _post_curl(url: str, case: Refused, key: str, size: int, times: int) -> list[str] | None:
    with tempfile.NamedTemporaryFile() as body:
        body.truncate(size)
        command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{exitcode}\\n", "-m", "15"]
        command += ["-X", case.method, "-H", f"Content-Type: {case.content_type}"]
        command += ["-H", f"X-Api-Key: {key}"]
        found: list[str] = []
        for _ in range(times):
            lines = _lines([*command, "--data-binary", f"@{body.name}", url])
            if lines is None:
                return None
            # Exit code 55: the status came, but the upload was cut off by a reset.
            found += [line.removesuffix(" 0") for line in lines]
    return found


def _post_node(url: str, case: Refused, key: str, size: int, times: int) -> list[str] | None:
    return _post_program(["node", str(PROGRAMS / "post.js")], url, case, key, size, times)


def _post_java(url: str, case: Refused, key: str, size: int, times: int) -> list[str] | None:
    return _post_program(["java", str(PROGRAMS / "Post.java")], url, case, key, size, times)


def _post_program(
    command: list[str], url: str, case: Refused, key: str, size: int, times: int
) -> list[str] | None:
    return _lines([*command, url, case.method, case.content_type, key, str(size), str(times)])


def _lines(command: list[str]) -> list[str] | None:
    if shutil.which(command[0]) is None:
        return None
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return ran.stdout.splitlines() or [ran.stderr[-100:]]


Post = Callable[[str, Refused, str, int, int], list[str] | None]
CLIENTS: Final[Mapping[str, Post]] = {
    "http.client": _post_http_client,
    "httpx": _post_httpx,
    "curl": _post_curl,
    "node": _post_node,
    "java": _post_java,
}


def fair_behind_nginx(report: Report, kind: str) -> None:
    """Two instances behind nginx; fifteen refused bodies a second must not take them out of use."""
    only_ours(kind)
    members = dict(_refused_wires())
    for name in list(members)[: 1 if report.is_quick else None]:
        with keyed(SMALL_LIMIT) as one, contextlib.ExitStack() as stack:
            env = SMALL_LIMIT | {"DIGITS_API_KEYS_FILE": str(one.key_file)}
            other = stack.enter_context(Service(env=env))
            port = stack.enter_context(nginx([one.service.port, other.port]))
            load = Load(one.service, {"X-Api-Key": one.calm})
            wires = [wire.replace(b"KEY", one.loud.encode()) for wire in members[name]]
            counts = stays_fair(report, name, load, port, repeat, wires, 3, 0.2)
            afterwards = asyncio.run(load.run(port, RPS, 3.0))
            report.fact(f"{name}: failed afterwards", afterwards.num_failed)
            report.expect(f"{name}: 0 failed afterwards", afterwards.num_failed == 0)
            refused = sum(num for status, num in counts.items() if status.startswith("4"))
            report.expect(f"{name}: the sender gets its status", refused == sum(counts.values()))


def _refused_wires() -> Iterator[tuple[str, list[bytes]]]:
    """Bodies that fit a socket's buffers and bodies that do not, below nginx's own limit."""
    small, large = b"\x89PNG\r\n\x1a\n" + bytes(700_000), bytes(7_900_000)
    npy, png, key = "application/x-npy", "image/png", {"X-Api-Key": "KEY"}

    def both(one: str, bulk: str, types: tuple[str, str], headers: dict[str, str]) -> list[bytes]:
        requests = Request(one, types[0], small, headers), Request(bulk, types[1], large, headers)
        return [request.wire("a") for request in requests]

    yield "too large", both("/v1/digit", "/v1/digit", (png, png), key)
    yield "of no key", both("/v1/digit", "/v1/digits", (png, npy), {})
    yield "of an unknown type", both("/v1/digit", "/v1/digits", ("text/plain",) * 2, key)
    yield "to no path", both("/nothing", "/nothing", (png, npy), key)
    wires = both("/v1/digit", "/v1/digits", (png, npy), key)
    yield "in the wrong method", [wire.replace(b"POST", b"PUT", 1) for wire in wires]
    yield "too large in bulk", [Request("/v1/digits", npy, bytes(8_500_000), key).wire("a")]
    coding = b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
    yield "of a coding that nobody has", [b"POST /v1/digit HTTP/1.1\r\nHost: a\r\n" + coding]


CHECKS: Final = {
    "fair-behind-nginx": fair_behind_nginx,
    "refusals-arrive": direct,
    "refusals-arrive-nginx": behind_nginx,
}
