"""The running service under faults: the id of every 200 must be in the archive exactly once.

    python -m tests.acceptance.capture_faults --kills 25

Starts the real service on loopback with capture on and posts real crops from four clients, each
request with its own id. It kills workers, kills all processes, sends SIGTERM, and fills the disk
(root only: it mounts a small one). After each fault it ships everything, reads the archive and
prints counts. The check `capture-faults` of tests/acceptance runs this program.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from capture import archive, ship
from capture.sampling import read_sample
from capture.segments import live_segments
from capture.store import open_store

ROOT = Path(__file__).resolve().parents[2]
CROPS = [path.read_bytes() for path in sorted((ROOT / "tests/data/crops").glob("*.png"))[:40]]
NUM_CLIENTS = 4
START_S = 60.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


class Service:
    """The service as `make serve` runs it, with a spool."""

    def __init__(self, spool: Path) -> None:
        self.port = free_port()
        self._environment = os.environ | {
            "DIGITS_PORT": str(self.port),
            "DIGITS_CAPTURE_DIR": str(spool),
            "DIGITS_DRAIN_S": "1",
            "DIGITS_LOG_LEVEL": "error",
        }
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "serving"],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait_ready(self) -> None:
        """Wait until it is ready; start it again if it has given up after too many exits."""
        give_up_s = time.monotonic() + START_S
        while self.get("/readyz") != 200:
            if time.monotonic() > give_up_s:
                raise RuntimeError("the service is not ready")
            if self.process.poll() is not None:
                self.process = self._start()
            time.sleep(0.05)

    def get(self, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def workers(self) -> list[int]:
        """Process ids of the supervisor's children."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(number) for number in path.read_text().split()]

    def kill(self) -> None:
        """Send SIGKILL to the supervisor and its workers, if they run."""
        if self.process.poll() is not None:
            return
        for pid in [*self.workers(), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def kill_everything(self) -> None:
        self.kill()
        self.process = self._start()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


class Clients:
    """Post crops until stopped; keep the ids that were answered with 200."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = threading.Event()
        self.answered: list[str] = []
        self.statuses: Counter[int] = Counter()
        self._threads = [threading.Thread(target=self._post) for _ in range(NUM_CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _post(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        while not self._stop.is_set():
            request_id = str(uuid.uuid4())
            headers = {"Content-Type": "image/png", "X-Request-Id": request_id}
            try:
                connection.request("POST", "/v1/digit", random.choice(CROPS), headers)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                self.statuses[0] += 1
                connection.close()
                time.sleep(0.01)
                continue
            self.statuses[answer.status] += 1
            if answer.status == 200:
                assert answer.headers["X-Request-Id"] == request_id
                self.answered.append(request_id)
            else:
                time.sleep(0.005)
        connection.close()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def archived_ids(spool: Path, store_folder: Path) -> list[str]:
    store = open_store(str(store_folder))
    ship.ship_once(spool, store)
    today = datetime.now(UTC).date()
    window = archive.Window(today - timedelta(1), today)
    rows = read_sample(store, window, columns=[], max_rows=10**7, min_rows_per_site=10**7).rows
    return [str(request_id) for request_id in rows["request_id"]]


@dataclass(frozen=True)
class Counts:
    """The counts for one kind of fault."""

    faults: int
    answered_200: int
    lost: int
    twice: int
    other_answers: dict[int, int]  # status -> how many; 0: no answer


def compare(num_faults: int, clients: Clients, archived: list[str]) -> Counts:
    return Counts(
        faults=num_faults,
        answered_200=len(clients.answered),
        lost=len(set(clients.answered) - set(archived)),
        twice=len(archived) - len(set(archived)),
        other_answers={n: count for n, count in sorted(clients.statuses.items()) if n != 200},
    )


def under_load(spool: Path, store: Path, fault: Callable[[Service], int]) -> Counts:
    service = Service(spool)
    clients = None
    try:
        service.wait_ready()
        clients = Clients(service.port)
        num_faults = fault(service)
        clients.stop()
        if service.process.poll() is None:
            service.stop()
    finally:
        if clients is not None:
            clients.stop()
        service.kill()
    assert not live_segments(spool)
    return compare(num_faults, clients, archived_ids(spool, store))


def kill_workers(kills: int) -> Callable[[Service], int]:
    def fault(service: Service) -> int:
        for _ in range(kills):
            service.wait_ready()
            time.sleep(random.uniform(0.05, 0.4))
            os.kill(random.choice(service.workers()), signal.SIGKILL)
        service.wait_ready()
        time.sleep(0.3)
        return kills

    return fault


def kill_everything(kills: int) -> Callable[[Service], int]:
    def fault(service: Service) -> int:
        for _ in range(kills):
            service.wait_ready()
            time.sleep(random.uniform(0.05, 0.4))
            service.kill_everything()
        service.wait_ready()
        time.sleep(0.3)
        return kills

    return fault


def stop_gracefully(service: Service) -> int:
    time.sleep(1)
    code = service.stop()
    assert code == 0, f"exit code {code}"
    return 1


def fill_disk(spool: Path, store: Path) -> Callable[[Service], int]:
    def fault(service: Service) -> int:
        wait_until(lambda: service.get("/readyz") == 503, "readiness red on a full disk")
        time.sleep(1)
        wait_until(
            lambda: bool(archived_ids(spool, store)) and service.get("/readyz") == 200,
            "readiness green after the shipper made room",
        )
        time.sleep(0.5)
        return 1

    return fault


def wait_until(true: Callable[[], bool], what: str) -> None:
    give_up_s = time.monotonic() + 60
    while not true():
        if time.monotonic() > give_up_s:
            raise RuntimeError(f"waited a minute for {what}")
        time.sleep(0.1)


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[bool]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "digits", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    yield mounted
    if mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.acceptance.capture_faults",
        description="Count lost and doubled records under kills and with a full disk.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--kills",
        type=int,
        default=25,
        help="kills of a worker; a fifth as many of all processes",
    )
    parser.add_argument("--json", type=Path, help="file for the counts as JSON")
    options = parser.parse_args()
    random.seed(1)
    counts: dict[str, Counts] = {}
    print("fault                    times  200s       lost  twice  other answers (0: reset)")

    def run(name: str, place: Path, fault: Callable[[Service], int]) -> None:
        counts[name] = found = under_load(place, place.with_name(f"{place.name}-store"), fault)
        print(
            f"{name:24} {found.faults:6} {found.answered_200:9} {found.lost:5} {found.twice:6}  "
            f"{found.other_answers}",
            flush=True,
        )

    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        run("kill -9 a worker", place / "a", kill_workers(options.kills))
        run("kill -9 everything", place / "b", kill_everything(max(options.kills // 5, 1)))
        run("SIGTERM", place / "c", stop_gracefully)
        with small_disk(place / "d", "3m") as mounted:
            if mounted:
                run("disk full", place / "d", fill_disk(place / "d", place / "d-store"))
            else:
                print("disk full                not run: needs root")
    if options.json:
        options.json.write_text(json.dumps({name: asdict(one) for name, one in counts.items()}))
    failed = any(one.lost or one.twice for one in counts.values())
    print("FAILED" if failed else "every 200 is archived exactly once")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
