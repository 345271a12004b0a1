"""One request and its answer: what the application receives and sends. Knows nothing of parsing."""

import logging
from asyncio import Event, WriteTransport
from collections.abc import MutableMapping
from typing import Any, Final, Protocol

from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

HIGH_WATER_BYTES: Final = 65_536  # of a body that the application has not received yet
_CLOSE: Final = b"connection: close\r\n"
_log = logging.getLogger("uvicorn.error")


class Connection(Protocol):
    """What a request needs of its connection."""

    def pause_reading(self) -> None:
        """Receive no more bytes."""

    def resume_reading(self) -> None:
        """Receive bytes again."""

    def on_answered(self) -> None:
        """The answer was written."""

    def fail(self) -> None:
        """Answer 500, because the application has not answered."""

    def abort(self) -> None:
        """Close at once."""


class Cycle:
    """One request and its answer, which the application sends in two messages: start and body.

    The application, serving.edge.edge, must send the content-length header. Its answers are
    complete, so they need one write and one check (python -m loadtest bench --parts latency).

    Args:
        scope: ASGI's.
        connection: that the request came in on.
        transport: of the connection.
        default_headers: of each answer.
        expects_continue: the client waits for 100 Continue before it sends the body.
        keeps_alive: the client allows another request on this connection.
    """

    __slots__ = (
        "_body",
        "_connection",
        "_default_headers",
        "_expects_continue",
        "_num_waiting",
        "_start",
        "_transport",
        "has_news",
        "is_answered",
        "is_body_complete",
        "is_disconnected",
        "keeps_alive",
        "scope",
    )

    def __init__(
        self,
        scope: dict[str, Any],
        connection: Connection,
        transport: WriteTransport,
        default_headers: list[tuple[bytes, bytes]],
        *,
        expects_continue: bool,
        keeps_alive: bool,
    ) -> None:
        self.scope = scope
        self.keeps_alive = keeps_alive
        self.is_answered = False
        self.is_body_complete = False
        self.is_disconnected = False
        self.has_news = Event()  # for `receive`: a part of the body, or the end
        self._connection = connection
        self._transport = transport
        self._default_headers = default_headers
        self._expects_continue = expects_continue
        self._body: list[bytes] = []
        self._num_waiting = 0  # bytes in _body
        self._start: MutableMapping[str, Any] | None = None

    async def run(self, app: ASGIApp) -> None:
        """Let the application answer; answer 500 if it does not."""
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException as error:  # noqa: BLE001  cancelled or not, the connection ends
            _log.error("exception in the application", exc_info=error)
        else:
            if self.is_answered or self.is_disconnected:
                return
            _log.error("the application has not completed its answer")
        if self._start is None and not self.is_disconnected:
            self._connection.fail()
        elif not self.is_answered:
            self._connection.abort()

    def add_body(self, part: bytes, *, is_complete: bool) -> None:
        """Keep a part of the body until the application receives it."""
        self.is_body_complete = is_complete
        if self.is_answered:
            return
        if part:
            self._body.append(part)
            self._num_waiting += len(part)
            if self._num_waiting > HIGH_WATER_BYTES:
                self._connection.pause_reading()
        self.has_news.set()

    def disconnect(self) -> None:
        """The client has left."""
        self.is_disconnected = not self.is_answered
        self.has_news.set()

    async def receive(self) -> MutableMapping[str, Any]:
        """ASGI's receive: the next part of the body, or the end."""
        if self._expects_continue:
            self._expects_continue = False
            if not self.is_disconnected and not self.is_answered:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self.is_disconnected and not self.is_answered:
            if not self.is_body_complete:
                self._connection.resume_reading()
            await self.has_news.wait()
            self.has_news.clear()
        if self.is_disconnected or self.is_answered:
            return {"type": "http.disconnect"}
        body = b"".join(self._body)
        self._body.clear()
        self._num_waiting = 0
        return {"type": "http.request", "body": body, "more_body": not self.is_body_complete}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """ASGI's send: keep the start of the answer; write all of it when its body comes.

        Raises:
            RuntimeError: the messages are not one start and one body, or a header has a line break.
        """
        if self.is_disconnected:
            return
        if self._start is None and message["type"] == "http.response.start":
            self._start = message
            self._expects_continue = False
        elif self._start is not None and not self.is_answered and not message.get("more_body"):
            self.answer(self._start["status"], self._start["headers"], message["body"])
        else:
            raise RuntimeError(f"{message['type']} here; send one start and one complete body")

    def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Write the whole answer.

        Raises:
            RuntimeError: a header has a line break.
        """
        lines = [b"%s: %s\r\n" % header for header in (*self._default_headers, *headers)]
        if _CLOSE in lines:
            self.keeps_alive = False
        elif not self.keeps_alive:
            lines.append(_CLOSE)
        head = b"".join([STATUS_LINE[status], *lines, b"\r\n"])
        if not head.count(b"\r") == head.count(b"\n") == len(lines) + 2:
            raise RuntimeError("a header of the answer has a line break")
        self.is_answered = True
        self.has_news.set()
        self._transport.write(head if self.scope["method"] == "HEAD" else head + body)
        self._connection.on_answered()
