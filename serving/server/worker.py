"""One worker process: uvicorn around BentoML's application, as `bentoml serve` would start it.

Started by serving.server.supervisor. Everything that may not be served with ends it here, with one
clear message, before the port is opened.
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
from serving.api.codes import PostcodesError
from serving.api.swagger import AssetRefused
from serving.config import ConfigError
from serving.edge.key_ring import KeysError
from serving.server.connections import LimitedProtocol, close_slow, raise_file_limit
from serving.server.supervisor import REFUSED

GRACEFUL_SHUTDOWN_S: Final = 10  # after draining: longer than the body and request deadlines
BACKLOG: Final = 2048
_SWEEP_S: Final = 1.0
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)


def main() -> int:
    """Build and serve; the exit code where that is refused."""
    parser = argparse.ArgumentParser(prog="python -m serving.server.worker", description=__doc__)
    parser.add_argument("--socket", type=int, required=True, help="bound, as a file descriptor")
    parser.add_argument("--ready", type=int, required=True, help="pipe to write to when serving")
    args = parser.parse_args()
    _end_with_parent()
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
        proxy_headers=False,  # the edge looks itself, where it needs to
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_S,
    )
    try:
        config.load()
    except (ConfigError, ModelError, KeysError, PostcodesError, SpoolError, AssetRefused) as error:
        sys.stderr.write(f"not starting: {error}\n")
        return REFUSED
    server = _Server(config, args.ready)
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn hands Ctrl-C on when it has ended
        server.run([socket.socket(fileno=args.socket)])
    return 0


class _JsonFormatter(logging.Formatter):
    """What uvicorn and BentoML log, as lines like our own."""

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


class _Server(uvicorn.Server):
    """uvicorn's, looking once a second whether there is anything to do.

    uvicorn looks ten times, and finds nothing: of requests that take 2 ms each fiftieth would meet
    a look, and wait for it.
    """

    def __init__(self, config: uvicorn.Config, ready_pipe: int) -> None:
        super().__init__(config)
        self._ready_pipe = ready_pipe
        self._told_to_exit = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None  # None: not serving yet

    async def main_loop(self) -> None:
        """Say that we serve; then close slow connections once a second until told to exit."""
        self._loop = asyncio.get_running_loop()
        os.write(self._ready_pipe, b"1")
        os.close(self._ready_pipe)
        while not await self.on_tick(0):  # 0: of its ten looks, the one that renews the date
            close_slow(list(self.server_state.connections), self._loop.time())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told_to_exit.wait(), _SWEEP_S)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Exit at once, not with the next look."""
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._told_to_exit.set)


def _end_with_parent() -> None:
    """Have the kernel stop this process when its supervisor is gone: nobody else would."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    raise SystemExit(main())
