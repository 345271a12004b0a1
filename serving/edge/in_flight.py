"""Requests in progress: each sender's share of them, their deadlines, clients that disconnect.

One periodic tick checks all of them, so that a request needs no timer of its own.
"""

import asyncio
import time
from collections.abc import Callable, Hashable
from typing import Any, Final, Literal

from serving.problems import Problem
from serving.shares import SharedPool

ARRIVING_PER_ANSWERING: Final = 8  # a body that arrives slowly needs little but its bytes
WATCH_AFTER_S: Final = 0.1  # most requests are answered sooner and need no watcher

Ended = Literal["body deadline", "request deadline", "disconnect"]


class Exchange:
    """One request in progress."""

    __slots__ = (
        "ended_by",
        "is_answered",
        "is_body_complete",
        "num_body_bytes",
        "receive",
        "sender",
        "started",
        "task",
        "watcher",
    )

    def __init__(self, receive: Callable[[], Any], started: float) -> None:
        self.receive = receive
        self.started = started
        self.task = asyncio.current_task()
        self.sender: Hashable = None  # whose share it takes, once it is admitted
        self.is_body_complete = False
        self.is_answered = False
        self.num_body_bytes = 0  # held for it (serving.edge.body)
        self.ended_by: Ended | None = None
        self.watcher: asyncio.Task[None] | None = None

    def end(self, reason: Ended) -> None:
        """Cancel the handler: asyncio.CancelledError is raised in it."""
        if self.ended_by is None and self.task is not None and not self.is_answered:
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
        limit: the most requests that are being answered; one sender may have as many as it leaves
            free.
        body_deadline_s: from arrival to the complete body.
        request_deadline_s: from arrival to the answer.
    """

    def __init__(self, limit: int, body_deadline_s: float, request_deadline_s: float) -> None:
        self._limit = limit
        self._body_deadline_s = body_deadline_s
        self._request_deadline_s = request_deadline_s
        self._exchanges: set[Exchange] = set()
        self._answering = SharedPool(limit)
        self._arriving = SharedPool(ARRIVING_PER_ANSWERING * limit)

    def __len__(self) -> int:
        return len(self._exchanges)

    def enter(self, receive: Callable[[], Any]) -> Exchange:
        """Add a request; call this in the task that answers it."""
        exchange = Exchange(receive, time.perf_counter())
        self._exchanges.add(exchange)
        return exchange

    def admit(self, exchange: Exchange, sender: Hashable) -> None:
        """Count a request to its sender's share of those whose bodies arrive.

        Raises:
            Problem: 429, its share of these is used up, or of those being answered.
        """
        if not (self._answering.has_room(sender, 1) and self._arriving.take(sender, 1)):
            raise self._refusal(sender)
        exchange.sender = sender

    def begin_answer(self, exchange: Exchange) -> None:
        """Count a request whose body is complete to those being answered.

        Raises:
            Problem: 429, the share was used up while the body arrived.
        """
        if exchange.sender is not None:
            if not self._answering.take(exchange.sender, 1):
                raise self._refusal(exchange.sender)
            self._arriving.give_back(exchange.sender, 1)
        exchange.is_body_complete = True

    def end_answer(self, exchange: Exchange) -> None:
        """Note that the answer is decided: no deadline ends the request while it is sent."""
        exchange.is_answered = True
        if exchange.watcher is not None:
            exchange.watcher.cancel()

    def leave(self, exchange: Exchange) -> None:
        """Remove a request, after its answer has been handed over."""
        self._exchanges.discard(exchange)
        if exchange.sender is not None:
            pool = self._answering if exchange.is_body_complete else self._arriving
            pool.give_back(exchange.sender, 1)
        if exchange.watcher is not None:
            exchange.watcher.cancel()

    def tick(self) -> None:
        """End requests that are over their deadline; watch the clients of slow ones."""
        now = time.perf_counter()
        for exchange in list(self._exchanges):
            age_s = now - exchange.started
            if exchange.is_answered:
                continue
            if not exchange.is_body_complete:
                if age_s > self._body_deadline_s:
                    exchange.end("body deadline")
            elif age_s > self._request_deadline_s:
                exchange.end("request deadline")
            elif age_s > WATCH_AFTER_S and exchange.watcher is None:
                exchange.watcher = asyncio.create_task(exchange.watch())

    def _refusal(self, sender: Hashable) -> Problem:
        alone = self._limit // 2
        return Problem(
            429,
            f"{self._answering.held_by(sender):.0f} of your requests are being answered, of all "
            f"senders' {self._answering.total:.0f}, and {self._arriving.held_by(sender):.0f} of "
            f"your bodies arrive; the limits are {self._limit} and "
            f"{ARRIVING_PER_ANSWERING * self._limit}, and one sender may have as many as it leaves "
            "free; send fewer at once",
            retry_after_s=1.0,
            closes_connection=True,
            headers=(
                (b"ratelimit-policy", b'"in-flight";q=%d;qu="concurrent-requests"' % alone),
                (b"ratelimit", b'"in-flight";r=0;t=1'),
            ),
        )
