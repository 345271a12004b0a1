"""Connections that take longer than a deadline: they are made beside the reads.

A read that ends at its deadline takes its half-made connection with it. If name, TCP and TLS always
take longer than that (a far service, a busy machine), no read would ever have a connection.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

import httpx

from digitline.exceptions import Unanswered
from digitline.exchange import exchange

MOST_AT_ONCE: Final = 8
CONNECT_S: Final = 10.0
_BEGUN: Final = "connection.connect_tcp.started"
_PLAIN: Final = "connection.connect_tcp.complete"
_MADE: Final = ".send_request_headers.started"  # of http11


class ConnectPhase:
    """Whether a request waits for a connection that is being made, by the events of httpcore."""

    def __init__(self) -> None:
        self.is_connecting: bool = False
        self.plain: Any = None  # httpcore's stream, while TLS is made over it

    async def on_event(self, name: str, facts: dict[str, Any]) -> None:
        """The `trace` of httpx's extensions."""
        if name == _BEGUN:
            self.is_connecting = True
        elif name == _PLAIN:
            self.plain = facts["return_value"]
        elif name.endswith(_MADE):
            self.is_connecting, self.plain = False, None


class Connector:
    """Makes connections that stay in the pool, by asking `GET /livez`.

    Args:
        http: the pool.
    """

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._making: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()

    def on_cancelled(self, phase: ConnectPhase, *, is_late: bool) -> None:
        """A request was given up; `is_late`: it had no more time.

        Where it was about to connect, another connection is made, unless so many are already.
        """
        if phase.plain is not None:  # httpcore closes it only when it is garbage
            _start(phase.plain.aclose(), self._closing)
        if phase.is_connecting and is_late and len(self._making) < MOST_AT_ONCE:
            _start(self._connect(), self._making)

    async def aclose(self) -> None:
        """Give up those that are being made."""
        for task in self._making:
            task.cancel()
        await asyncio.gather(*self._making, *self._closing, return_exceptions=True)

    async def _connect(self) -> None:
        phase = ConnectPhase()
        url = httpx.URL(str(self._http.base_url).rstrip("/") + "/livez")
        with suppress(Unanswered, TimeoutError):  # the next read says why there is none
            try:
                async with asyncio.timeout(CONNECT_S):
                    await exchange(
                        self._http,
                        "GET",
                        url,
                        request_id="connect",
                        headers={},
                        on_event=phase.on_event,
                    )
            finally:
                if phase.plain is not None:
                    await phase.plain.aclose()


def _start(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
