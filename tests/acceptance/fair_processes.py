"""Stopped workers, a killed supervisor and key files that are no files, beside a neighbour."""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from serving.edge.key_ring import new_key
from tests.acceptance.attackers import Counts, Target
from tests.acceptance.harness import Load, Report, Service, free_port, only_ours, pinned
from tests.acceptance.neighbours import RPS, keyed, stays_fair

REPLACED_WITHIN_S, RELOADED_WITHIN_S = 35.0, 10.0
DRAIN_S, START_S = 5.0, 20.0
SHM: Final = Path("/dev/shm")


def stopped_worker(report: Report, kind: str) -> None:
    """SIGSTOP of the only worker, then of one of two: it is replaced, and others are answered."""
    only_ours(kind)
    for workers in (1,) if report.is_quick else (1, 2):
        with Service(env={"DIGITS_WORKERS": str(workers)}) as service:
            load = Load(service, {"Connection": "close"})
            _wait(lambda: len(service.worker_pids()) == workers, 20.0)  # noqa: B023  used at once
            stopped = service.worker_pids()[0]
            os.kill(stopped, signal.SIGSTOP)
            if workers == 2:
                beside = asyncio.run(load.run(service.port, RPS, 10.0))
                report.fact("one of two stopped: failed", beside.num_failed)
                report.fact("one of two stopped: p99 ms", beside.percentile_ms(99))
                report.expect("new connections are answered", beside.num_failed == 0)
            seconds = _wait(
                lambda: (
                    stopped not in service.worker_pids()  # noqa: B023
                    and len(service.worker_pids()) == workers  # noqa: B023
                    and service.status("/readyz") == 200
                ),
                REPLACED_WITHIN_S,
            )
            report.fact(f"1 of {workers} stopped: replaced after s", seconds)
            report.expect(f"1 of {workers} stopped: replaced", seconds < REPLACED_WITHIN_S)
            if seconds >= REPLACED_WITHIN_S:
                os.kill(stopped, signal.SIGCONT)
                continue
            after = asyncio.run(load.run(service.port, RPS, 5.0))
            report.fact(f"1 of {workers} stopped: failed afterwards", after.num_failed)
            report.expect(f"1 of {workers} stopped: 0 failed afterwards", after.num_failed == 0)


def dead_supervisor(report: Report, kind: str) -> None:
    """kill -9 of the supervisor: a new one starts at once, serves soon, and leaves no files."""
    only_ours(kind)
    before = {path.name for path in SHM.iterdir()}
    env = {"DIGITS_WORKERS": "2", "DIGITS_DRAIN_S": str(DRAIN_S)}
    port = free_port()
    with Service(env=env, port=port) as service:
        _wait(lambda: len(service.worker_pids()) == 2, 20.0)
        workers = service.worker_pids()
        begun = time.perf_counter()
        for pid in set(service.tree.pids()) - set(workers):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            with Service(env=env, port=port) as again:
                seconds = _wait(
                    lambda: (
                        bool(again.worker_pids())
                        and not any(Path(f"/proc/{pid}").exists() for pid in workers)
                        and again.status("/readyz") == 200
                    ),
                    DRAIN_S + START_S,
                )
                report.fact("serves again after s", time.perf_counter() - begun)
                report.expect("serves within the drain and 20 s", seconds < DRAIN_S + START_S)
                again.stop(grace_s=30)
        except TimeoutError as error:
            report.fact("the new one", str(error)[-160:])
            report.expect("the new one starts", is_so=False)
    left = sorted(
        path.name for path in SHM.glob("digits*") if path.name not in before and not _in_use(path)
    )
    report.fact("left in /dev/shm", left)
    report.expect("nothing left in /dev/shm", not left)


def _in_use(folder: Path) -> bool:
    """Whether a process holds the lock of a metrics folder: another service may run beside."""
    with contextlib.suppress(OSError):
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
    return False


def key_fifo(report: Report, kind: str) -> None:
    """The key file becomes a pipe, a folder, a socket...: the keys stay, and a new file is read."""
    only_ours(kind)
    with keyed(core=0) as it, pinned(1):
        load = Load(it.service, {"X-Api-Key": it.calm})
        good = json.loads(it.key_file.read_text())
        for name in list(_REPLACEMENTS)[: 1 if report.is_quick else None]:
            stays_fair(report, name, load, it.service.port, replace_file, str(it.key_file), name)
            key, entry = new_key("late", ["predict"], None)
            scratch = it.key_file.with_suffix(".new")
            scratch.write_text(json.dumps({"keys": [*good["keys"], entry]}))
            scratch.replace(it.key_file)
            seconds = _wait(
                lambda: it.service.ask("GET", "/v1/model", headers={"X-Api-Key": key})[0] == 200,  # noqa: B023
                RELOADED_WITHIN_S,
            )
            report.fact(f"{name}: a new file is read after s", seconds)
            report.expect(f"{name}: a new file is read", seconds < RELOADED_WITHIN_S)


def replace_file(target: Target, path: str, name: str) -> Counts:
    """Put something else in the key file's place for a while, then the file again."""
    file, kept = Path(path), Path(path + ".kept")
    file.rename(kept)
    try:
        _REPLACEMENTS[name](file)
        time.sleep(target.seconds)
    finally:
        with contextlib.suppress(OSError):
            file.rmdir() if file.is_dir() else file.unlink()
        kept.rename(file)
    return {"replaced": 1}


def _make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def _make_sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(300_000_000)


def _keep_pipe_open(path: Path) -> None:
    """A pipe with a writer that writes nothing: opening it does not block, reading does."""
    os.mkfifo(path)
    os.open(path, os.O_RDWR)  # closed when this process ends


_REPLACEMENTS: Final[dict[str, Callable[[Path], object]]] = {
    "pipe": os.mkfifo,
    "pipe with a writer": _keep_pipe_open,
    "folder": Path.mkdir,
    "socket": _make_socket,
    "300 MB of zeros": _make_sparse,
    "link to itself": lambda path: path.symlink_to(path),
    "link to a pipe": lambda path: (os.mkfifo(f"{path}.pipe"), path.symlink_to(f"{path}.pipe")),
    "nothing": lambda path: None,
}


def _wait(is_so: Callable[[], bool], limit_s: float) -> float:
    """Seconds until `is_so`; the limit if it never was."""
    begun = time.perf_counter()
    while time.perf_counter() - begun < limit_s:
        if is_so():
            return time.perf_counter() - begun
        time.sleep(0.1)
    return limit_s


CHECKS: Final = {
    "fair-stopped-worker": stopped_worker,
    "fair-dead-supervisor": dead_supervisor,
    "fair-key-fifo": key_fifo,
}
