"""Starts the demo's programs on free ports, waits until they answer, and stops them all.

Each program leads a process group of its own, so that a Ctrl-C reaches this program alone and what
a program starts ends with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Final

_HOST: Final = "127.0.0.1"
_STOP_S: Final = 20.0  # from SIGTERM until SIGKILL
_POLL_S: Final = 0.2
_NUM_PORTS: Final = 100  # that are tried, from the usual one on
_SHOWN_LINES: Final = 15


class ProgramFailed(RuntimeError):
    """A program ended by itself, or did not answer in time; the message says what it wrote."""


def free_port(usual: int, *, what: str, taken: Sequence[int], say: Callable[[str], None]) -> int:
    """The usual port, or the next one on which nothing listens.

    Raises:
        ProgramFailed: all of them are in use.
    """
    for port in range(usual, usual + _NUM_PORTS):
        if port in taken or not _is_free(port):
            continue
        if port != usual:
            say(f"port {usual} is in use; {what} will be at {port}")
        return port
    raise ProgramFailed(f"ports {usual} to {usual + _NUM_PORTS - 1} are in use; stop a program")


def _is_free(port: int) -> bool:
    for host in (_HOST, ""):  # a program that listens on all addresses is found, too
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


@dataclass(slots=True)
class Programs:
    """The programs that run, in the order in which they were started.

    Args:
        folder: where they run, and write their logs.
        environment: the whole of it.
    """

    folder: Path
    environment: Mapping[str, str]
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, arguments: Sequence[str]) -> None:
        """Start `python ARGUMENTS`; what it writes goes to NAME.log."""
        with self.log(name).open("wb") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self.folder, env=dict(self.environment), stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def log(self, name: str) -> Path:
        """Where a program's output is."""
        return self.folder / f"{name}.log"

    def wait_for(self, name: str, url: str, *, within_s: float) -> None:
        """Wait until a program answers with 200.

        Raises:
            ProgramFailed: it does not.
        """
        deadline_s = time.monotonic() + within_s
        while time.monotonic() < deadline_s:
            self.check()
            if _answers(url):
                return
            time.sleep(_POLL_S)
        raise ProgramFailed(
            f"{name} did not answer at {url} within {within_s:.0f} s; {self._end(name)}"
        )

    def check(self) -> None:
        """Raise ProgramFailed if one has ended by itself."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise ProgramFailed(
                    f"{name} has ended with code {process.returncode}; {self._end(name)}"
                )

    def _end(self, name: str) -> str:
        lines = self.log(name).read_text(errors="replace").splitlines()[-_SHOWN_LINES:]
        return "\n".join([f"{self.log(name)} ends with:", *lines])

    def stop(self) -> None:
        """End every program and whatever it has started."""
        for process in reversed(self._running.values()):
            _signal(process, signal.SIGTERM)
        deadline_s = time.monotonic() + _STOP_S
        for process in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline_s - time.monotonic()))
        for process in self._running.values():
            _signal(process, signal.SIGKILL)  # what is left of its group
            process.wait()
        self._running.clear()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - ours
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
