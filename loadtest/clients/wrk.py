"""Saturation by wrk, a closed loop: as many requests as the server can answer.

wrk keeps a fixed number of connections busy, so its rate is the server's capacity. Its latencies
suffer from coordinated omission, so they do not show what a scanner would see.
"""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadtest.clients.http1 import Request

_DONE: Final = """
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\nRESULT {"requests":%d,"duration_us":%d,"status_errors":%d,"socket_errors":%d,' ..
    '"p50_us":%d,"p99_us":%d}\\n', summary.requests, summary.duration, e.status,
    e.connect + e.read + e.write + e.timeout, latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True, slots=True)
class WrkResult:
    """The result of one run of wrk."""

    requests: int
    duration_s: float
    errors: int  # answers outside 2xx and 3xx, broken and timed-out connections
    p50_ms: float
    p99_ms: float

    @property
    def rps(self) -> float:
        """Requests answered without error, a second."""
        return (self.requests - self.errors) / self.duration_s


def saturate(
    port: int, requests: Sequence[Request], *, connections: int, duration_s: int
) -> WrkResult:
    """Send the requests cyclically over `connections` connections.

    Raises:
        subprocess.CalledProcessError: wrk could not run.
    """
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "requests.lua"
        script.write_text(lua_script(port, requests), encoding="ascii")
        command = ["wrk", "-t1", f"-c{connections}", f"-d{duration_s}s", "--timeout", "10s"]
        finished = subprocess.run(
            [*command, "-s", str(script), f"http://127.0.0.1:{port}"],
            check=True,
            capture_output=True,
            text=True,
        )
    return parse(finished.stdout)


def lua_script(port: int, requests: Sequence[Request]) -> str:
    """A script with the requests as constant strings, so that wrk does not build them."""
    rows = ",\n".join(_lua_string(request.wire(f"127.0.0.1:{port}")) for request in requests)
    return (
        f"local rows = {{\n{rows}\n}}\nlocal i = 0\n"
        "function request()\n  i = i % #rows + 1\n  return rows[i]\nend\n" + _DONE
    )


def parse(output: str) -> WrkResult:
    """Read the result line, which `done` in the script prints.

    Raises:
        ValueError: there is none.
    """
    for line in output.splitlines():
        if line.startswith("RESULT "):
            row = json.loads(line.removeprefix("RESULT "))
            return WrkResult(
                requests=row["requests"],
                duration_s=row["duration_us"] / 1e6,
                errors=row["status_errors"] + row["socket_errors"],
                p50_ms=row["p50_us"] / 1e3,
                p99_ms=row["p99_us"] / 1e3,
            )
    raise ValueError(f"wrk printed no result line: {output[-500:]!r}")


def _lua_string(data: bytes) -> str:
    return '"' + "".join(f"\\{byte:03d}" for byte in data) + '"'
