"""Limits below requests: how many connections, how long and how large a header may be.

uvicorn waits for ever for a header, of any size, for the rest of a body that nobody reads, and for
a client to take its answer. A proxy in front closes such connections; so does this, where there is
none.
"""

import resource
import sys
from asyncio import BaseTransport
from collections.abc import Iterable
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.problems import Problem, to_answer
from serving.request_id import new_request_id

REST_DEADLINE_S: Final = 10.0  # for a header, or the rest of a message that is answered already
ANSWER_DEADLINE_S: Final = 30.0  # for a client that does not read
MAX_HEADER_BYTES: Final = 16_384
RESERVED_FILES: Final = 64  # for everything that is not a client: model, spool, keys, /proc
_REASONS: Final = {400: b"Bad Request", 431: b"Request Header Fields Too Large"}


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 connection, with limits on what is no request that is being answered."""

    waiting_since: float | None = None  # loop time; None: answering, or idle between requests
    unread_since: float | None = None  # loop time; None while the client takes its answer
    _waiting_after: object = None  # the exchange before what is waited for
    _num_loose_bytes = 0  # received since the last request began or body bytes came
    _data = b""  # being parsed
    _is_upgrade = False  # the header asks for another protocol

    def connection_made(self, transport: BaseTransport) -> None:
        """Take a connection, unless files run out."""
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows it
        if len(self.connections) > max_connections():
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse what came; refuse a header, or a trailer, that grows too large."""
        self._num_loose_bytes += len(data)
        self._data = data
        super().data_received(data)
        self._data = b""  # thousands of idle connections would keep their last body
        if self._num_loose_bytes > MAX_HEADER_BYTES:
            self._refuse_header()

    def on_message_begin(self) -> None:
        """A request's first byte has come."""
        self._num_loose_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its header is whole."""
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MAX_HEADER_BYTES:
            self._refuse_header()
        elif self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._is_upgrade = True
        else:
            super().on_headers_complete()
            self.headers = []  # trailers go here, not among what was checked

    def _unsupported_upgrade_warning(self) -> None:
        """Decline the upgrade that the parser has stopped at, by going on in HTTP/1.1.

        Java's client asks for HTTP/2 so with its first request, and curl --http2 does. uvicorn
        would answer, too, but the parser has cut the body off. So the request is parsed again
        without what asks.

        Source:
            RFC 9110, 7.8: a server may ignore the field.
        """
        stopped = sys.exception()
        if not self._is_upgrade or not isinstance(stopped, httptools.HttpParserUpgrade):
            return
        self._is_upgrade = False
        version = self.parser.get_http_version().encode()
        start = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)
        fields = [b"%s: %s" % field for field in self.headers if field[0] != b"upgrade"]
        rest = self._data[stopped.args[0] :]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.data_received(b"\r\n".join([start, *fields, b"", rest]))

    def is_overdue(self, now: float) -> bool:
        """Whether the client has owed us bytes, or not taken an answer, for too long."""
        if self.transport.get_write_buffer_size() == 0:
            self.unread_since = None
        elif self.unread_since is None:
            self.unread_since = now
        if self._is_answering() or self.timeout_keep_alive_task is not None:
            self.waiting_since = None
        elif self.waiting_since is None or self._waiting_after is not self.cycle:
            self.waiting_since, self._waiting_after = now, self.cycle
        return any(
            since is not None and now - since > deadline_s
            for since, deadline_s in (
                (self.waiting_since, REST_DEADLINE_S),
                (self.unread_since, ANSWER_DEADLINE_S),
            )
        )

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse_header(self) -> None:
        self._refuse(431, f"the header has more than {MAX_HEADER_BYTES} bytes; send fewer of them")

    def send_400_response(self, msg: str) -> None:
        """What cannot be parsed gets uvicorn's message as our kind of problem."""
        self._refuse(400, f"{msg} Send HTTP/1.1")

    def _refuse(self, status: int, detail: str) -> None:
        """Answer by ourselves, since there is no request that the edge could answer."""
        if self.transport.is_closing():
            return
        request_id = new_request_id()
        problem = Problem(status, detail, closes_connection=True)
        answer = to_answer(problem, request_id, is_open_inference=False)
        lines = [
            b"HTTP/1.1 %d %s" % (status, _REASONS[status]),
            b"content-type: " + answer.content_type,
            b"content-length: %d" % len(answer.body),
            b"x-request-id: " + request_id.encode(),
            *(b"%s: %s" % header for header in answer.headers),
        ]
        self.transport.write(b"\r\n".join([*lines, b"", answer.body]))
        self.transport.close()

    # After a refusal nothing is running that could take a body.
    def on_body(self, body: bytes) -> None:
        """Part of a body."""
        self._num_loose_bytes = 0
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if not self.transport.is_closing() and not self._is_upgrade:
            super().on_message_complete()


def close_slow(connections: Iterable[Any], now: float) -> int:
    """Close connections whose client is overdue to send or to take something; how many.

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
