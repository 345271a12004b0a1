"""One worker process: uvicorn with the application that `bentoml serve` would start, too.

serving.server.supervisor starts it. If the settings, the champion or a file that a setting names
is unfit, the worker exits with one message before the port is opened.
"""

import argparse
import asyncio
import contextlib
import ctypes
import json
import logging
import os
import signal
import socket
import sys
from datetime import UTC, datetime
from types import FrameType
from typing import Final

import uvicorn

from capture.spool import SpoolError
from contract.timeouts import KEEP_ALIVE_S
from model.errors import ModelError
from serving.config import ConfigError
from serving.server.connections import LimitedProtocol, close_slow, raise_file_limit
from serving.server.supervisor import REFUSED

GRACEFUL_SHUTDOWN_S: Final = 10  # after draining; longer than the default deadlines
BACKLOG: Final = 2048
SWEEP_S: Final = 1.0
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)


def main() -> int:
    """Build the application and serve it; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m serving.server.worker", description=__doc__)
    parser.add_argument(
        "--socket", type=int, required=True, help="file descriptor of the bound socket"
    )
    parser.add_argument(
        "--ready",
        type=int,
        required=True,
        help="file descriptor of a pipe; gets one byte when the worker serves",
    )
    args = parser.parse_args()
    _stop_with_parent()
    raise_file_limit()
    logging.basicConfig(handlers=[_json_lines()], level=logging.WARNING)
    config = uvicorn.Config(
        "service:DigitService.to_asgi",
        factory=True,
        http=LimitedProtocol,
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
    try:
        config.load()
    except (ConfigError, ModelError, SpoolError) as error:
        sys.stderr.write(f"not starting: {error}\n")
        return REFUSED
    server = WorkerServer(config, args.ready)
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises Ctrl-C again after its shutdown
        server.run([socket.socket(fileno=args.socket)])
    return 0


class _JsonFormatter(logging.Formatter):
    """Formats what uvicorn and BentoML log as JSON lines like ours."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "logger": record.name,
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
        }
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            line["exception"] = record.exc_text
        return json.dumps(line)


def _json_lines() -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonFormatter())
    return handler


class WorkerServer(uvicorn.Server):
    """uvicorn's server with a tick once a second.

    uvicorn's 10 Hz tick delays about 2 % of 2 ms requests
    (python -m loadtest bench --parts latency).
    """

    def __init__(self, config: uvicorn.Config, ready_pipe: int) -> None:
        super().__init__(config)
        self._ready_pipe = ready_pipe
        self._exit_requested = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None  # None: not serving yet

    async def main_loop(self) -> None:
        """Report that the worker serves; then close slow connections once a second until exit."""
        self._loop = asyncio.get_running_loop()
        os.write(self._ready_pipe, b"1")
        os.close(self._ready_pipe)
        while not await self.on_tick(0):  # 0: the one of ten ticks that renews the date header
            close_slow(list(self.server_state.connections), self._loop.time())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._exit_requested.wait(), SWEEP_S)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Exit at once, not at the next tick."""
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._exit_requested.set)


def _stop_with_parent() -> None:
    """Let the kernel send SIGTERM to this process when its supervisor exits."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    raise SystemExit(main())
