"""Keeps the workers alive: binds the port, starts and replaces them, forwards stop signals.

BentoML's own supervisor polls its workers every ten seconds, and in a container it never replaces
one. This one gets SIGCHLD from the kernel. It imports only the standard library, so that the
process beside the workers stays small.
"""

import argparse
import contextlib
import errno
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Final

from serving.server.handover import (
    bind,
    is_digitline,
    make_locked_folder,
    remove_stale_folders,
)

START_WITHIN_S: Final = 60.0  # a worker that is not ready by then is killed
SILENT_S: Final = 10.0  # a worker that gives no sign of life for so long is killed
WAIT_S: Final = 1.0  # between two looks
RETRY_S: Final = 5.0  # between attempts to start a worker while others serve
MAX_EXITS: Final = 6  # of serving workers within EXITS_WITHIN_S; then give up
EXITS_WITHIN_S: Final = 30.0
REFUSED: Final = 2  # exit code: a setting, the champion or the keys are unfit
CRASHED: Final = 1
BIND_AGAIN_S: Final = 0.2
_HANDLED: Final = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(slots=True)
class _Worker:
    """One worker process."""

    process: subprocess.Popen[bytes]
    started: float = field(default_factory=time.monotonic)
    is_ready: bool = False
    silent_s: float = 0.0  # since its last sign of life


class Supervisor:
    """Runs `num_workers` processes on one socket until SIGTERM or SIGINT.

    Args:
        listener: bound but not listening. The first ready worker listens, so that a service that
            refuses to start never opens its port.
        app: MODULE:FUNCTION that builds a worker's application.
        num_workers: number of workers to keep alive.
        stop_within_s: after SIGTERM; workers that still run then are killed.
    """

    def __init__(
        self, listener: socket.socket, *, app: str, num_workers: int, stop_within_s: float
    ) -> None:
        self._app = app
        self._listener = listener
        self._num_workers = num_workers
        self._stop_within_s = stop_within_s
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._exits: deque[float] = deque(maxlen=MAX_EXITS)
        self._retry_at = 0.0
        self._looked_at = time.monotonic()
        self._inherited: tuple[int, ...] = (listener.fileno(),)
        # With an arena for each thread, memory freed by one thread is not reused by another.
        self._env = {"MALLOC_ARENA_MAX": "2", **os.environ}

    def run(self) -> int:
        """Run until stopped; the exit code."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._selector.close)
            self._watch_signals(stack)
            if self._num_workers > 1:
                # prometheus_client merges the workers' metrics here; one worker needs no files.
                folder, lock = make_locked_folder()
                stack.callback(os.close, lock)
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
                self._env["PROMETHEUS_MULTIPROC_DIR"] = folder
                self._inherited += (lock,)
            self._start()
            code = self._keep_alive()
            self._stop()
        return code

    def _watch_signals(self, stack: contextlib.ExitStack) -> None:
        read_end, write_end = socket.socketpair()
        for end in (read_end, write_end):
            stack.callback(end.close)
            end.settimeout(0)
        for number in _HANDLED:
            signal.signal(number, self._note_signal)
        signal.set_wakeup_fd(write_end.fileno())
        stack.callback(signal.set_wakeup_fd, -1)
        self._selector.register(read_end, selectors.EVENT_READ)

    def _note_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(number)

    def _start(self) -> None:
        """Start one worker."""
        alive_pipe, tell_alive = os.pipe()
        command = [sys.executable, "-m", "serving.server.worker", f"--app={self._app}"]
        command += [f"--socket={self._listener.fileno()}", f"--alive={tell_alive}"]
        process = subprocess.Popen(
            command,
            env=self._env,
            pass_fds=(*self._inherited, tell_alive),
            process_group=0,  # Ctrl-C reaches only the supervisor, which forwards it
        )
        os.close(tell_alive)
        worker = _Worker(process)
        self._workers.append(worker)
        self._selector.register(alive_pipe, selectors.EVENT_READ, worker)

    def _keep_alive(self) -> int:
        """Replace workers until a stop is requested; the exit code: 0, or why none can serve."""
        while True:
            self._wait()
            if signal.SIGTERM in self._signals or signal.SIGINT in self._signals:
                return 0
            if signal.SIGHUP in self._signals:
                self._look_at_champion()
            for worker in list(self._workers):
                code = self._reap(worker)
                if code is not None:
                    return code
            if self._may_start():
                self._start()

    def _look_at_champion(self) -> None:
        """Forward SIGHUP. A worker that is not ready yet has no handler, and would die of it."""
        self._signals[:] = [one for one in self._signals if one != signal.SIGHUP]
        for worker in self._workers:
            if worker.is_ready and worker.process.poll() is None:
                worker.process.send_signal(signal.SIGHUP)

    def _may_start(self) -> bool:
        """Whether to start a worker: one at a time, so that a fatal error is reported once."""
        return (
            len(self._workers) < self._num_workers
            and all(worker.is_ready for worker in self._workers)
            and time.monotonic() >= self._retry_at
        )

    def _wait(self, seconds: float = WAIT_S) -> None:
        """Wait for a signal or a sign of life; kill workers that give none."""
        events = self._selector.select(timeout=seconds)
        self._count_silence()
        for key, _ in events:
            if isinstance(key.data, _Worker):
                self._hear(key.data, key.fd)
            else:
                os.read(key.fd, 4096)  # wake-up bytes; _note_signal keeps the signal numbers
        for worker in self._workers:
            if worker.silent_s > SILENT_S and worker.process.poll() is None:
                _log("worker hung; killed", pid=worker.process.pid, seconds=SILENT_S)
                worker.process.kill()

    def _count_silence(self) -> None:
        """Count the time since the last look, unless this process itself was stopped."""
        now = time.monotonic()
        for worker in self._workers:
            if worker.is_ready:
                worker.silent_s += min(now - self._looked_at, 2 * WAIT_S)
        self._looked_at = now

    def _hear(self, worker: _Worker, pipe: int) -> None:
        """Read a worker's signs of life: a byte each second while it serves."""
        if os.read(pipe, 4096):
            worker.silent_s = 0.0
            if not worker.is_ready:
                worker.is_ready = True
                self._log_address(worker)
                # Now, not at start: the workers of a killed supervisor have exited meanwhile.
                for stale in remove_stale_folders():
                    _log("stale metrics removed", folder=stale, level="info")
        else:  # it has exited
            self._selector.unregister(pipe)
            os.close(pipe)

    def _log_address(self, worker: _Worker) -> None:
        host, port = self._listener.getsockname()[:2]
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        _log("worker ready", pid=worker.process.pid, address=address, level="info")

    def _reap(self, worker: _Worker) -> int | None:
        """Reap an exited worker; the exit code if the service cannot go on."""
        code = worker.process.poll()
        if code is None:
            if not worker.is_ready and time.monotonic() > worker.started + START_WITHIN_S:
                _log(
                    "worker not ready in time; killed",
                    pid=worker.process.pid,
                    seconds=START_WITHIN_S,
                )
                worker.process.kill()
            return None
        self._remove(worker)
        others_serve = any(other.is_ready for other in self._workers)
        if not worker.is_ready:
            self._retry_at = time.monotonic() + RETRY_S
            return None if others_serve else (code if code == REFUSED else CRASHED)
        now = time.monotonic()
        self._exits.append(now)
        _log("worker exited", pid=worker.process.pid, exit_code=code, replaced=True)
        if len(self._exits) == MAX_EXITS and now - self._exits[0] < EXITS_WITHIN_S:
            _log("giving up: workers keep exiting", exits=MAX_EXITS, seconds=EXITS_WITHIN_S)
            return CRASHED
        return None

    def _remove(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        folder = self._env.get("PROMETHEUS_MULTIPROC_DIR")
        if folder:  # delete its gauges; its counters still count
            for path in Path(folder).glob(f"gauge_live*_{worker.process.pid}.db"):
                path.unlink(missing_ok=True)

    def _stop(self) -> None:
        """Forward the signal to all workers and wait; kill those that do not stop."""
        number = signal.SIGINT if signal.SIGINT in self._signals else signal.SIGTERM
        self._signals.clear()
        for worker in self._workers:
            worker.process.send_signal(number)
        deadline = time.monotonic() + self._stop_within_s
        for worker in self._workers:
            # A second signal kills at once.
            while worker.process.poll() is None and not self._wants_kill():
                if time.monotonic() > deadline:
                    break
                self._wait(0.05)
            if worker.process.poll() is None:
                _log("worker did not stop in time; killed", pid=worker.process.pid)
                worker.process.kill()
                worker.process.wait()

    def _wants_kill(self) -> bool:
        return signal.SIGTERM in self._signals or signal.SIGINT in self._signals


def _log(event: str, **facts: object) -> None:
    """Write one JSON line in the format of the workers' logs."""
    line = {"level": "warning", **facts, "event": event, "timestamp": datetime.now(UTC).isoformat()}
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()


def _bind(host: str, port: int, within_s: float) -> socket.socket:
    """Bind; if workers of a killed supervisor still serve the port, wait until they have exited.

    Raises:
        OSError: the address is still in use, or not one of this machine.
    """
    deadline = time.monotonic() + within_s
    is_logged = False
    while True:
        try:
            return bind(host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
            if not is_logged and not is_digitline(host, port):
                raise
        if not is_logged:
            _log("port in use; waiting for it", address=f"{host}:{port}", seconds=within_s)
            is_logged = True
        time.sleep(BIND_AGAIN_S)


def main() -> int:
    """Bind the socket and supervise; `python -m serving` starts this with checked settings."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.server.supervisor", description=__doc__
    )
    parser.add_argument("--host", required=True, help="IP address to listen on")
    parser.add_argument("--port", type=int, required=True, help="TCP port to listen on")
    parser.add_argument("--workers", type=int, required=True, help="worker processes")
    parser.add_argument(
        "--stop-within-s",
        type=float,
        required=True,
        help="seconds after SIGTERM until workers that still run are killed",
    )
    parser.add_argument("--app", required=True, help="MODULE:FUNCTION that builds the application")
    args = parser.parse_args()
    try:
        listener = _bind(args.host, args.port, args.stop_within_s)
    except (OSError, ValueError) as error:
        sys.stderr.write(
            f"not starting: cannot listen on {args.host}:{args.port} (DIGITS_HOST, DIGITS_PORT): "
            f"{error}\n"
        )
        return REFUSED
    with listener:
        supervisor = Supervisor(
            listener, app=args.app, num_workers=args.workers, stop_within_s=args.stop_within_s
        )
        return supervisor.run()


if __name__ == "__main__":
    raise SystemExit(main())
