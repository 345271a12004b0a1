"""Run a load profile against a service, with Locust or the open-loop client."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from loadtest import servers
from loadtest.clients import openloop
from loadtest.clients.http1 import Answer
from loadtest.failure import LoadtestFailed
from loadtest.load import mix, request_log
from loadtest.load.request_log import NO_ANSWER, Log
from loadtest.load.shapes import Shape

LOCUSTFILE: Final = Path(__file__).parent / "locustfile.py"
GRACE_S: Final = 60.0


def run_locust(shape: Shape, host: str, keys: list[str], out: Path) -> Log:
    """Run a shape with Locust; write its log and its HTML report into `out`.

    Locust runs in another process, because gevent patches the standard library.

    Raises:
        LoadtestFailed: Locust ended without a log.
    """
    out.mkdir(parents=True, exist_ok=True)
    log, page = out / f"{shape.name}.npz", out / f"{shape.name}.html"
    log.unlink(missing_ok=True)
    env = {
        "LOADTEST_SHAPE": shape.name,
        "LOADTEST_MINUTES": repr(shape.duration_s / 60),
        "LOADTEST_KEYS": ",".join(keys),
        "LOADTEST_OUT": str(log),
    }
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "-H", host]
    finished = subprocess.run(
        [*command, "--html", str(page), "--only-summary", "--loglevel", "WARNING"],
        env={**os.environ, **env},
        cwd=servers.ROOT,
        capture_output=True,
        text=True,
        timeout=shape.duration_s + GRACE_S,
        check=False,
    )
    if not log.exists():
        raise LoadtestFailed(
            f"Locust wrote no log, exit code {finished.returncode}: {finished.stderr[-800:]}"
        )
    return request_log.read(log)


def arrivals_of(shape: Shape) -> NDArray[np.float64]:
    """The arrival times of a shape: evenly spaced within each 0.1 s, without randomness."""
    step_s = 0.1
    due = 0.0
    times: list[float] = []
    for number in range(round(shape.duration_s / step_s)):
        starts_s = number * step_s
        due += shape.rps(starts_s) * step_s
        whole = int(due + 1e-9)
        due -= whole
        times += [starts_s + step_s * index / whole for index in range(whole)]
    return np.array(times)


def run_open(arrivals_s: NDArray[np.float64], host: str, keys: list[str]) -> tuple[Log, float]:
    """Send calls at these times, whether or not earlier ones were answered.

    Returns:
        the log, and the p99 of the generator's own lateness in ms.

    Raises:
        LoadtestFailed: the service cannot be reached.
    """
    address = urlsplit(host)
    name, port = address.hostname or "127.0.0.1", address.port or 80
    calls = mix.standard_calls(keys)
    wires = [call.request.wire(address.netloc) for call in calls]
    checks: dict[int, mix.Check] = {}

    def compare(number: int, answer: Answer) -> bool:
        try:
            checks[number] = mix.check(calls[number % len(calls)], answer.body)
        except ValueError:
            return False
        return not checks[number].is_wrong

    try:
        sample = openloop.run(name, port, wires, arrivals_s, is_right=compare)
    except OSError as error:
        raise LoadtestFailed(f"{host} cannot be reached: {error}") from error
    recorder = request_log.Recorder(start_s=0.0)
    columns = (sample.sent_at_s.tolist(), sample.latency_ms.tolist(), sample.status.tolist())
    for number, (at_s, latency_ms, status) in enumerate(zip(*columns, strict=True)):
        result = checks.get(number)
        answered = NO_ANSWER if status == 200 and result is None else status
        recorder.add(at_s, latency_ms, answered, len(calls[number % len(calls)].labels), result)
    return recorder.log(), sample.late_ms
