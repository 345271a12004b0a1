"""Limits below requests: how many connections, how long and how large a header may be.

uvicorn waits for ever for a header, of any size, and for a client to take its answer. A proxy in
front closes such connections; so does this, where there is none.
"""

import resource
from asyncio import BaseTransport
from collections.abc import Iterable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_DEADLINE_S: Final = 10.0  # from the first byte, or from connecting
ANSWER_DEADLINE_S: Final = 30.0  # for a client that does not read
MAX_HEADER_BYTES: Final = 16_384
RESERVED_FILES: Final = 64  # for everything that is not a client: model, spool, keys, /proc
_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 connection, with limits on what comes before a request."""

    header_since: float | None = None  # loop time; None while no header is awaited
    unread_since: float | None = None  # loop time; None while the client takes its answer
    _num_header_bytes = 0

    def connection_made(self, transport: BaseTransport) -> None:
        """Take a connection, unless files run out."""
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows it
        self.header_since = self.loop.time()
        if len(self.connections) > max_connections():
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse what came; refuse a header that grows too large."""
        if self.header_since is not None:
            self._num_header_bytes += len(data)
        super().data_received(data)
        if self.header_since is not None and self._num_header_bytes > MAX_HEADER_BYTES:
            self._refuse_header()

    def on_message_begin(self) -> None:
        """A request's first byte has come."""
        self.header_since = self.loop.time()
        self._num_header_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its header is whole."""
        self.header_since = None
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MAX_HEADER_BYTES:
            self._refuse_header()
        else:
            super().on_headers_complete()

    def is_overdue(self, now: float) -> bool:
        """Whether a header, or the taking of an answer, has lasted too long."""
        if self.transport.get_write_buffer_size() == 0:
            self.unread_since = None
        elif self.unread_since is None:
            self.unread_since = now
        return any(
            since is not None and now - since > deadline_s
            for since, deadline_s in (
                (self.header_since, HEADER_DEADLINE_S),
                (self.unread_since, ANSWER_DEADLINE_S),
            )
        )

    def _refuse_header(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    # After a refusal nothing is running that could take a body.
    def on_body(self, body: bytes) -> None:
        """Part of a body."""
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if not self.transport.is_closing():
            super().on_message_complete()


def close_slow(connections: Iterable[Any], now: float) -> int:
    """Close connections whose header is overdue, or whose answer is not taken; how many.

    Args:
        connections: uvicorn's, of which only ours can be judged.
        now: loop time.
    """
    overdue = [
        one for one in connections if isinstance(one, LimitedProtocol) if one.is_overdue(now)
    ]
    for one in overdue:
        one.transport.abort()
    return len(overdue)


def max_connections() -> int:
    """As many as leave files for the rest of the process."""
    return max(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVED_FILES, 1)


def raise_file_limit() -> None:
    """Use all the open files that this process may have; shells and containers give it fewer."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
