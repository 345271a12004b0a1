"""Requests in progress: their deadlines, and clients that disconnect.

One periodic tick checks all of them, so that a request needs no timer of its own.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, Literal

WATCH_AFTER_S: Final = 0.1  # most requests are answered sooner and need no watcher

Ended = Literal["body deadline", "request deadline", "disconnect"]


class Exchange:
    """One request in progress."""

    __slots__ = ("ended_by", "is_body_complete", "receive", "started", "task", "watcher")

    def __init__(self, receive: Callable[[], Any], started: float) -> None:
        self.receive = receive
        self.started = started
        self.task = asyncio.current_task()
        self.is_body_complete = False
        self.ended_by: Ended | None = None
        self.watcher: asyncio.Task[None] | None = None

    def end(self, reason: Ended) -> None:
        """Cancel the handler: asyncio.CancelledError is raised in it."""
        if self.ended_by is None and self.task is not None:
            self.ended_by = reason
            self.task.cancel()

    async def watch(self) -> None:
        """End the request if the client disconnects. After the body, no other message can come."""
        message = await self.receive()
        if message["type"] == "http.disconnect":
            self.end("disconnect")


class InFlight:
    """All requests in progress in this process.

    Args:
        body_deadline_s: from arrival to the complete body.
        request_deadline_s: from arrival to the answer.
    """

    def __init__(self, body_deadline_s: float, request_deadline_s: float) -> None:
        self._body_deadline_s = body_deadline_s
        self._request_deadline_s = request_deadline_s
        self._exchanges: set[Exchange] = set()
        self.num_answering = 0  # only those whose body is complete: slow senders do not count

    def __len__(self) -> int:
        return len(self._exchanges)

    def enter(self, receive: Callable[[], Any]) -> Exchange:
        """Add a request; call this in the task that answers it."""
        exchange = Exchange(receive, time.perf_counter())
        self._exchanges.add(exchange)
        return exchange

    def begin_answer(self, exchange: Exchange) -> None:
        """Note that the body is complete."""
        exchange.is_body_complete = True
        self.num_answering += 1

    def leave(self, exchange: Exchange) -> None:
        """Remove a request."""
        self._exchanges.discard(exchange)
        self.num_answering -= exchange.is_body_complete
        if exchange.watcher is not None:
            exchange.watcher.cancel()

    def tick(self) -> None:
        """End requests that are over their deadline; watch the clients of slow ones."""
        now = time.perf_counter()
        for exchange in list(self._exchanges):
            age_s = now - exchange.started
            if not exchange.is_body_complete:
                if age_s > self._body_deadline_s:
                    exchange.end("body deadline")
            elif age_s > self._request_deadline_s:
                exchange.end("request deadline")
            elif age_s > WATCH_AFTER_S and exchange.watcher is None:
                exchange.watcher = asyncio.create_task(exchange.watch())
