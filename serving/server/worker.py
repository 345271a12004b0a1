"""One worker process: uvicorn with an application.

serving.server.supervisor starts it. If the settings, the champion or a file that a setting names
is unfit, the worker exits with one message before the port is opened.
"""

import argparse
import asyncio
import contextlib
import ctypes
import os
import select
import signal
import socket
import sys
import time
from email.utils import formatdate
from functools import partial
from types import FrameType
from typing import Final

import uvicorn

from capture.spool import SpoolError
from contract.timeouts import KEEP_ALIVE_S
from model.errors import ModelError
from serving.config import ConfigError
from serving.edge.sender import trusted_proxies
from serving.logs import configure_library_logs, flush_suppressed
from serving.server.connections import HttpConnection, close_slow
from serving.server.pools import Pools, raise_file_limit
from serving.server.supervisor import REFUSED

GRACEFUL_SHUTDOWN_S: Final = 10  # after draining; longer than the default deadlines
BACKLOG: Final = 2048
TICK_S: Final = 1.0
# Fields are split on another thread, which keeps the interpreter lock for up to so long. With
# Python's 5 ms, six senders of fields raise another's p99 from 8 to 30 ms, with this to 9 to 25
# (python -m tests.acceptance fair-costly-fields); requests a second stay the same.
SWITCH_INTERVAL_S: Final = 0.0005
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)


def main() -> int:
    """Build the application and serve it; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m serving.server.worker", description=__doc__)
    parser.add_argument(
        "--socket", type=int, required=True, help="file descriptor of the bound socket"
    )
    parser.add_argument(
        "--alive",
        type=int,
        required=True,
        help="file descriptor of a pipe; gets a byte each second while the worker serves",
    )
    parser.add_argument("--app", required=True, help="MODULE:FUNCTION that builds the application")
    args = parser.parse_args()
    _stop_with_parent(args.alive)
    raise_file_limit()
    configure_library_logs()
    try:
        config = load_application(args.app)
    except (ConfigError, ModelError, SpoolError) as error:
        sys.stderr.write(f"not starting: {error}\n")
        return REFUSED
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    server = WorkerServer(config, args.alive)
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises Ctrl-C again after its shutdown
        server.run([socket.socket(fileno=args.socket)])
    return 0


def load_application(app: str) -> uvicorn.Config:
    """Uvicorn's configuration with the loaded application.

    Args:
        app: MODULE:FUNCTION that builds it.

    Raises:
        ConfigError, ModelError, SpoolError: a setting or what it names is unfit.
    """
    config = uvicorn.Config(
        app,
        factory=True,
        http=partial(HttpConnection, Pools(trusted_proxies())),  # type: ignore[arg-type]
        loop="uvloop",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the edge applies x-forwarded-for, where it is needed
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_S,
    )
    config.load()
    return config


class WorkerServer(uvicorn.Server):
    """uvicorn's server with a tick once a second.

    uvicorn's 10 Hz tick delays about 2 % of 2 ms requests
    (python -m loadtest bench --parts latency).
    """

    def __init__(self, config: uvicorn.Config, alive_pipe: int) -> None:
        super().__init__(config)
        self._alive_pipe = alive_pipe
        os.set_blocking(alive_pipe, False)  # a stopped supervisor must not stop its workers
        self._exit_requested = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None  # None: not serving yet

    async def main_loop(self) -> None:
        """Serve until an exit is requested."""
        self._loop = asyncio.get_running_loop()
        self._tick(self._loop)
        while not self.should_exit:  # a signal before the loop was known set no event
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._exit_requested.wait()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """Report that the worker lives, renew the date header and close slow connections.

        It runs until the loop ends, so it runs through the shutdown, too.
        """
        loop.call_later(TICK_S, self._tick, loop)
        with contextlib.suppress(OSError):  # the supervisor has exited, or reads nothing
            os.write(self._alive_pipe, b"1")
        date = formatdate(time.time(), usegmt=True).encode()
        self.server_state.default_headers = [(b"date", date)]
        close_slow(list(self.server_state.connections), loop.time())
        flush_suppressed(time.monotonic())

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Exit at once, not at the next tick."""
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._exit_requested.set)


def _stop_with_parent(alive_pipe: int) -> None:
    """Let the kernel send SIGTERM to this process when its supervisor exits; exit if it has.

    The kernel sends nothing for a supervisor that exited before this call. Nobody reads the pipe
    then, and the worker would hold the port for ever.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    poll = select.poll()
    poll.register(alive_pipe, 0)  # POLLERR, nobody reads, is reported without being asked for
    if poll.poll(0):
        raise SystemExit("not starting: the supervisor has exited")


if __name__ == "__main__":
    raise SystemExit(main())
