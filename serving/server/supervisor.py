"""Keeps the workers alive: binds the port, starts them, replaces the dead, passes on the stop.

BentoML's own supervisor looks for dead workers every ten seconds, and in a container it never
replaces one. This one is told by the kernel. It imports nothing but the standard library, so that
the process beside the workers stays small and has little to go wrong in.
"""

import argparse
import contextlib
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from types import FrameType
from typing import Final

START_WITHIN_S: Final = 60.0  # a worker that is not ready by then is not going to be
RETRY_S: Final = 5.0  # between attempts to replace a worker while others serve
MAX_DEATHS: Final = 6  # of serving workers within DEATHS_WITHIN_S: restarting does not help
DEATHS_WITHIN_S: Final = 30.0
REFUSED: Final = 2  # exit code: settings, champion or keys are unfit
CRASHED: Final = 1
_WATCHED: Final = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class _Worker:
    """One worker process."""

    process: subprocess.Popen[bytes]
    started: float = field(default_factory=time.monotonic)
    is_ready: bool = False


class Supervisor:
    """Runs `num_workers` processes on one listening socket until told to stop.

    Args:
        listener: bound, not yet listening: the first worker that is fit listens, so that a
            service that refuses to start never opens its port.
        num_workers: to keep alive.
        stop_within_s: after SIGTERM; what still runs then is killed.
    """

    def __init__(self, listener: socket.socket, *, num_workers: int, stop_within_s: float) -> None:
        self._listener = listener
        self._num_workers = num_workers
        self._stop_within_s = stop_within_s
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._deaths: deque[float] = deque(maxlen=MAX_DEATHS)
        self._retry_at = 0.0
        # Few arenas: with one for each thread, memory that one has freed is not used by another.
        self._env = {"MALLOC_ARENA_MAX": "2", **os.environ}

    def run(self) -> int:
        """Serve until stopped; the exit code."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._selector.close)
            self._watch_signals(stack)
            if self._num_workers > 1:
                # Where the workers' metrics are merged; one worker alone needs no files.
                folder = tempfile.mkdtemp(prefix="digits-metrics-", dir=_shared_memory())
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
                self._env["PROMETHEUS_MULTIPROC_DIR"] = folder
            self._start()
            code = self._keep_alive()
            self._stop()
        return code

    def _watch_signals(self, stack: contextlib.ExitStack) -> None:
        read_end, write_end = socket.socketpair()
        for end in (read_end, write_end):
            stack.callback(end.close)
            end.settimeout(0)
        for number in _WATCHED:
            signal.signal(number, self._note_signal)
        signal.set_wakeup_fd(write_end.fileno())
        stack.callback(signal.set_wakeup_fd, -1)
        self._selector.register(read_end, selectors.EVENT_READ)

    def _note_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(number)

    def _start(self) -> None:
        """Start one worker."""
        ready_pipe, tell_ready = os.pipe()
        command = [sys.executable, "-m", "serving.server.worker"]
        command += [f"--socket={self._listener.fileno()}", f"--ready={tell_ready}"]
        process = subprocess.Popen(
            command,
            env=self._env,
            pass_fds=(self._listener.fileno(), tell_ready),
            process_group=0,  # Ctrl-C is for us; we tell them
        )
        os.close(tell_ready)
        worker = _Worker(process)
        self._workers.append(worker)
        self._selector.register(ready_pipe, selectors.EVENT_READ, worker)

    def _keep_alive(self) -> int:
        """Until a stop is asked for (0), or nothing can serve (an error's code)."""
        while True:
            self._wait()
            if signal.SIGTERM in self._signals or signal.SIGINT in self._signals:
                return 0
            for worker in list(self._workers):
                code = self._look_at(worker)
                if code is not None:
                    return code
            if self._may_start():
                self._start()

    def _may_start(self) -> bool:
        """One at a time: the first must serve before there is a second, or errors come twice."""
        return (
            len(self._workers) < self._num_workers
            and all(worker.is_ready for worker in self._workers)
            and time.monotonic() >= self._retry_at
        )

    def _wait(self) -> None:
        """Until a signal, a worker's word, or a second has passed."""
        for key, _ in self._selector.select(timeout=1.0):
            if isinstance(key.data, _Worker):
                # A byte: the worker serves. None: it died before; SIGCHLD tells more.
                key.data.is_ready = bool(os.read(key.fd, 1))
                self._selector.unregister(key.fd)
                os.close(key.fd)
                if key.data.is_ready:
                    self._say_where(key.data)
            else:
                os.read(key.fd, 4096)  # which signals, _note_signal knows

    def _say_where(self, worker: _Worker) -> None:
        host, port = self._listener.getsockname()[:2]
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        _log("worker serves", pid=worker.process.pid, address=address, level="info")

    def _look_at(self, worker: _Worker) -> int | None:
        """Bury a dead worker; the exit code if that was one too many."""
        code = worker.process.poll()
        if code is None:
            if not worker.is_ready and time.monotonic() > worker.started + START_WITHIN_S:
                _log("worker does not start", pid=worker.process.pid, seconds=START_WITHIN_S)
                worker.process.kill()
            return None
        self._bury(worker)
        others_serve = any(other.is_ready for other in self._workers)
        if not worker.is_ready:
            self._retry_at = time.monotonic() + RETRY_S
            return None if others_serve else (code if code == REFUSED else CRASHED)
        now = time.monotonic()
        self._deaths.append(now)
        _log("worker died", pid=worker.process.pid, exit_code=code, replaced=True)
        if len(self._deaths) == MAX_DEATHS and now - self._deaths[0] < DEATHS_WITHIN_S:
            _log("giving up: workers keep dying", deaths=MAX_DEATHS, seconds=DEATHS_WITHIN_S)
            return CRASHED
        return None

    def _bury(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        folder = self._env.get("PROMETHEUS_MULTIPROC_DIR")
        if folder:  # gauges of the living only; counters of the dead still count
            for path in Path(folder).glob(f"gauge_live*_{worker.process.pid}.db"):
                path.unlink(missing_ok=True)

    def _stop(self) -> None:
        """Ask all workers to end, and see to it."""
        number = signal.SIGINT if signal.SIGINT in self._signals else signal.SIGTERM
        self._signals.clear()
        for worker in self._workers:
            worker.process.send_signal(number)
        deadline = time.monotonic() + self._stop_within_s
        for worker in self._workers:
            # A second signal while stopping means now.
            while worker.process.poll() is None and not self._wants_kill():
                if time.monotonic() > deadline:
                    break
                time.sleep(0.05)
            if worker.process.poll() is None:
                _log("worker killed: it did not stop", pid=worker.process.pid)
                worker.process.kill()
                worker.process.wait()

    def _wants_kill(self) -> bool:
        return signal.SIGTERM in self._signals or signal.SIGINT in self._signals


def _shared_memory() -> str | None:
    """A folder in memory: a full disk must not break counting. None: the usual temporary one."""
    folder = Path("/dev/shm")  # noqa: S108  a mount point, not a file name
    return str(folder) if os.access(folder, os.W_OK) else None


def _log(event: str, **facts: object) -> None:
    """One JSON line, as the workers write them."""
    line = {"level": "warning", **facts, "event": event, "timestamp": datetime.now(UTC).isoformat()}
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()


def bind(host: str, port: int) -> socket.socket:
    """A bound socket.

    Raises:
        OSError: the address is in use, or not this machine's.
    """
    family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener


def main() -> int:
    """Bind and supervise; `python -m serving` comes here with checked settings."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.server.supervisor", description=__doc__
    )
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--stop-within-s", type=float, required=True)
    args = parser.parse_args()
    try:
        listener = bind(args.host, args.port)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"not starting: cannot listen on {args.host}:{args.port}: {error}\n")
        return REFUSED
    with listener:
        supervisor = Supervisor(
            listener, num_workers=args.workers, stop_within_s=args.stop_within_s
        )
        return supervisor.run()


if __name__ == "__main__":
    raise SystemExit(main())
