"""Faults of the environment: disk, clock, champion file, file descriptors."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from loadtest import digit_crops
from serving.edge.lifecycle import HEALTH_EVERY_S
from tests.acceptance.harness import ROOT, Load, Report, Service, one_crop, only_ours

RED_WITHIN_S = 10.0


def disk_full(report: Report, kind: str) -> None:
    """The capture disk fills up, and has room again."""
    only_ours(kind)
    with _small_disk() as disk, Service(env={"DIGITS_CAPTURE_DIR": str(disk / "spool")}) as service:
        load = Load(service)
        filler = disk / "filler"
        filler.write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - 100_000))
        _expect_not_ready(report, service, load, "capture spool")
        filler.unlink()
        _expect_ready(report, service)


def disk_read_only(report: Report, kind: str) -> None:
    """The capture disk becomes read-only, and writable again."""
    only_ours(kind)
    with Service() as service:
        load = Load(service)
    with _small_disk() as disk, Service(env={"DIGITS_CAPTURE_DIR": str(disk / "spool")}) as service:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        _expect_not_ready(report, service, load, "capture spool")
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        _expect_ready(report, service)


@contextlib.contextmanager
def _small_disk() -> Iterator[Path]:
    """A disk of 4 MB in memory; only root can make one."""
    with tempfile.TemporaryDirectory(prefix="acceptance-disk-") as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def _expect_not_ready(report: Report, service: Service, load: Load, reason: str) -> None:
    statuses, wrong = _read_many(service, load, 800)
    red_after_s = _wait(service, 503)
    time.sleep(HEALTH_EVERY_S + 0.5)
    report.fact("statuses_meanwhile", statuses)
    report.fact("wrong", wrong)
    report.fact("readiness_red_after_s", red_after_s)
    report.fact("log", _last(service.log, '"not ready"'))
    report.expect("200 or 503, nothing else", set(statuses) <= {"200", "503"})
    report.expect("no wrong answer", wrong == 0)
    report.expect("readiness is red", red_after_s < RED_WITHIN_S)
    report.expect("and the log says why", reason in _last(service.log, '"not ready"'))


def _expect_ready(report: Report, service: Service) -> None:
    green_after_s = _wait(service, 200)
    status = service.read(one_crop())[0]
    report.fact("readiness_green_again_after_s", green_after_s)
    report.fact("answer_then", status)
    report.expect("recovers", green_after_s < RED_WITHIN_S and status == 200)


def clock_backwards(report: Report, kind: str) -> None:
    """The wall clock jumps back an hour, twice."""
    only_ours(kind)
    with tempfile.TemporaryDirectory(prefix="acceptance-") as folder:
        env = {"ACCEPTANCE_CLOCK": "1", "DIGITS_CAPTURE_DIR": folder, "DIGITS_EMF": "on"}
        with Service(env=env, faults=True) as service:
            load = Load(service)
            ids, statuses, num_wrong = [], Counter[str](), 0
            for offset_s in (0, -3600, -7200, 0):
                service.harm(clock_s=offset_s)
                found, wrong = _read_many(service, load, 100)
                statuses += Counter(found)
                num_wrong += wrong
                ids.append(service.read(one_crop())[1]["x-request-id"])
            report.fact("statuses", dict(statuses))
            report.fact("wrong", num_wrong)
            report.fact("readiness", service.status("/readyz"))
            report.expect("all answered", set(statuses) == {"200"})
            report.expect("none wrong", num_wrong == 0)
            report.expect("ready", service.status("/readyz") == 200)
            report.expect("request ids stay distinct", len(set(ids)) == len(ids))


def champion_changed(report: Report, kind: str) -> None:
    """The model file changes on disk: readiness turns red, and a killed worker does not restart."""
    only_ours(kind)
    with tempfile.TemporaryDirectory(prefix="acceptance-") as name:
        copy = Path(name)
        for one in ("contract", "model", "serving", "capture"):
            shutil.copytree(ROOT / one, copy / one, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "service.py", copy)
        with Service(folder=copy) as service:
            load = Load(service)
            model = copy / "model" / "champion" / "model.onnx"
            data = bytearray(model.read_bytes())
            data[-100] ^= 1
            model.write_bytes(data)
            red_after_s = _wait(service, 503)
            _expect_not_ready(report, service, load, "changed on disk")
            report.fact("readiness_red_after_s", red_after_s)
            os.kill(service.worker_pids()[0], 9)
            begun = time.perf_counter()
            while service.tree.is_alive() and time.perf_counter() - begun < 20:
                time.sleep(0.05)
            report.fact("ended_after_the_kill_s", time.perf_counter() - begun)
            report.fact("last_line", service.log.splitlines()[-1][:120])
            report.expect("ends rather than serve it", not service.tree.is_alive())


def no_files(report: Report, kind: str) -> None:
    """A flood of connections leaves a reserve of file descriptors; then the worker gets none."""
    only_ours(kind)
    with Service(prefix=["prlimit", "--nofile=256:256"]) as service:
        load = Load(service)
        flood = [_connect(service.port) for _ in range(1000)]
        time.sleep(1)
        statuses, wrong = _read_many(service, load, 30)
        report.fact("statuses_in_a_flood_of_connections", statuses)
        report.fact("open_files", service.num_files())
        report.expect("files stay in reserve", service.num_files() < 256)
        for one in flood:
            one.close()
        kept = _keep_alive(service.port)
        subprocess.run(
            ["prlimit", f"--pid={service.worker_pids()[0]}", "--nofile=8:256"], check=True
        )
        time.sleep(5)
        ready = _on(kept, "GET", "/readyz")
        read = _on(kept, "POST", "/v1/digit", one_crop())
        report.fact("readiness_without_files", ready[0])
        report.fact("reasons", json.loads(ready[1]).get("reasons"))
        report.fact("answer_on_an_open_connection", read[0])
        report.fact("log", _last(service.log, "not ready"))
        report.expect("readiness is red", ready[0] == 503)
        report.expect("and the log says why", "no file can be opened" in service.log)
        subprocess.run(
            ["prlimit", f"--pid={service.worker_pids()[0]}", "--nofile=256:256"], check=True
        )
        green_after_s = _wait(service, 200)
        statuses, wrong_after = _read_many(service, load, 30)
        report.fact("readiness_green_again_after_s", green_after_s)
        report.fact("statuses_then", statuses)
        report.expect("recovers", set(statuses) == {"200"})
        report.expect("no wrong answer", wrong + wrong_after == 0)


def _connect(port: int) -> socket.socket:
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex(("127.0.0.1", port))
    return client


def _keep_alive(port: int) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    for _ in range(100):
        try:
            connection.request("GET", "/livez")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            connection.close()
            time.sleep(0.2)
        else:
            return connection
    raise TimeoutError("no connection")


def _on(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None
) -> tuple[int, bytes]:
    connection.request(method, path, body, {"Content-Type": "image/png"} if body else {})
    answer = connection.getresponse()
    return answer.status, answer.read()


def _read_many(service: Service, load: Load, num: int) -> tuple[dict[str, int], int]:
    """Read `num` crops in sequence; the count of each status, and of wrong answers with 200."""
    pngs = [crop.png for crop in digit_crops.spread(digit_crops.load(), len(load.expected))]
    statuses: Counter[str] = Counter()
    num_wrong = 0
    for number in range(num):
        status, _, body = service.read(pngs[number % len(pngs)])
        statuses[str(status)] += 1
        if status == 200:
            num_wrong += json.loads(body)["digit"] != load.expected[number % len(pngs)]
    return dict(statuses), num_wrong


def _wait(service: Service, status: int) -> float:
    """Seconds until /readyz has this status; infinite after 15 s."""
    begun = time.perf_counter()
    while time.perf_counter() - begun < 15:
        if service.status("/readyz") == status:
            return time.perf_counter() - begun
        time.sleep(0.1)
    return float("inf")


def _last(log: str, word: str) -> str:
    lines = [line for line in log.splitlines() if word in line]
    return lines[-1][:200] if lines else "nothing"


CHECKS = {
    "disk-full": disk_full,
    "disk-read-only": disk_read_only,
    "clock-backwards": clock_backwards,
    "champion-changed": champion_changed,
    "no-files": no_files,
}
