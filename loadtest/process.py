"""The process tree of a server under test: start on one core, measure, pause, stop.

Knows nothing about HTTP. A mark in the environment identifies the processes of a tree, because some
servers (Ray, TorchServe) detach their children.
"""

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MARK: Final = "DIGITLINE_LOADTEST"
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of a process tree."""

    rss_bytes: int  # sum; a shared page counts once per process
    pss_bytes: int  # a shared page is divided among its processes


class Tree:
    """One started server with all its descendants.

    Args:
        argv: the command.
        core: the tree is pinned to this core; None does not pin it.
        env: added to this process's environment.
        log: receives standard output and error.
    """

    def __init__(
        self, argv: Sequence[str], *, core: int | None, env: Mapping[str, str], log: Path
    ) -> None:
        self._mark = f"{MARK}={uuid.uuid4().hex}"
        name, value = self._mark.split("=")
        pin = [] if core is None else ["taskset", "--cpu-list", str(core)]
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [*pin, *argv],
                env={**os.environ, **env, name: value},
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )

    def is_alive(self) -> bool:
        """Whether the first process still runs."""
        return self._process.poll() is None

    def pids(self) -> list[int]:
        """Every living process of the tree."""
        mark = self._mark.encode()
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
        return found

    def cpu_s(self) -> float:
        """User plus system time of the tree, including children that ended and were waited for.

        Resolution is one tick (10 ms): measure over seconds.
        """
        ticks = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, fields[11:15]))
        return ticks / TICKS_PER_S

    def memory(self) -> "Memory":
        """Memory of the tree now."""
        return Memory(
            rss_bytes=sum(_status_bytes(pid, "status", "VmRSS:") for pid in self.pids()),
            pss_bytes=sum(_status_bytes(pid, "smaps_rollup", "Pss:") for pid in self.pids()),
        )

    def pause(self) -> None:
        """Send SIGSTOP to every process of the tree, so that it uses no processor time."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Send SIGCONT to every process of the tree."""
        self._signal_all(signal.SIGCONT)

    def terminate(self, *, grace_s: float) -> int | None:
        """Send SIGTERM to the first process; kill what is left after `grace_s`.

        Returns:
            the exit code of the first process; None if it was killed.
        """
        self.resume()
        self._process.terminate()
        code: int | None
        try:
            code = self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            code = None
        for _ in range(50):
            self._signal_all(signal.SIGKILL)
            if not self.pids():
                break
            time.sleep(0.1)
        self._process.wait()
        return code

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _status_bytes(pid: int, file: str, name: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0


@contextlib.contextmanager
def pinned_to(core: int) -> Iterator[None]:
    """Run this process, and the processes it starts, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
