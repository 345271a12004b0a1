"""Limits on connections: their number, the size of a header, and how long a client may stall.

uvicorn waits without limit for a header of any size, for the rest of a body that nobody reads, and
for a client to read its answer. A proxy would close such connections; this module closes them if
there is no proxy.
"""

import resource
import sys
from asyncio import BaseTransport, Event
from collections.abc import Iterable
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.edge.request_id import new_request_id
from serving.problems import Problem, to_answer
from serving.server.response_cycle import Cycle, split_target

REST_DEADLINE_S: Final = 10.0  # to send a header, or the rest of a request that is already answered
ANSWER_DEADLINE_S: Final = 30.0  # to read an answer
MAX_HEADER_BYTES: Final = 16_384
RESERVED_FILES: Final = 64  # not for connections: model, spool, keys, /proc
_REASONS: Final = {400: b"Bad Request", 431: b"Request Header Fields Too Large"}


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 connection, with limits on headers, idle time and unread answers.

    A sweep once a second finds overdue connections (close_slow): a timer for each request would
    cost more.
    """

    idle_since: float | None = None  # loop time; None: not idle between two requests
    waiting_since: float | None = None  # loop time; None: no bytes are expected from the client
    unread_since: float | None = None  # loop time; None: no answer waits to be read
    _cycle_before_wait: object = None  # the last request before the bytes that we wait for
    _num_header_bytes = 0  # received since the last start of a request or last body bytes
    _parsing = b""  # the bytes being parsed
    _is_header_new = False  # the header being parsed began in `_parsing`
    _is_upgrade = False  # the header asks to switch protocols

    def connection_made(self, transport: BaseTransport) -> None:
        """Accept a connection unless too many are open."""
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows it
        if len(self.connections) > max_connections():
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; refuse a header or trailer that becomes too large."""
        self.idle_since = None
        self._num_header_bytes += len(data)
        self._parsing, self._is_header_new = data, False
        super().data_received(data)
        self._parsing = b""  # else each idle connection would keep its last body in memory
        if self._num_header_bytes > MAX_HEADER_BYTES:
            self._refuse_header()

    def on_message_begin(self) -> None:
        """The first byte of a request was received."""
        self._num_header_bytes, self._is_header_new = 0, True
        self.url, self.headers = b"", []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """The header is complete."""
        if self._is_header_too_large():
            self._refuse_header()
        elif self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._is_upgrade = True
        else:
            self._begin()
            self.headers = []  # trailers go into a new list, not into the checked headers

    def _is_header_too_large(self) -> bool:
        if self._is_header_new and len(self._parsing) <= MAX_HEADER_BYTES:
            return False
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        return size > MAX_HEADER_BYTES

    def _begin(self) -> None:
        """Start to answer the request, or queue it behind earlier ones on this connection."""
        http_version = self.parser.get_http_version()
        before = self.cycle
        self.cycle = Cycle(
            scope=self._scope(http_version),
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=http_version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _scope(self, http_version: str) -> Any:
        """The ASGI scope of the request."""
        path, raw_path, query_string = split_target(self.url)
        return {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": http_version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "headers": self.headers,
            "state": self.app_state.copy(),
            "method": self.parser.get_method().decode("ascii"),
            "path": path,
            "raw_path": raw_path,
            "query_string": query_string,
        }

    def on_response_complete(self) -> None:
        """The answer was written."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif not self.cycle.more_body:  # else the client still has to send the rest of the body
            self.idle_since = self.loop.time()

    def _unsupported_upgrade_warning(self) -> None:
        """Decline a protocol upgrade and continue in HTTP/1.1.

        Java's HTTP client (in its first request) and curl --http2 ask for an upgrade to HTTP/2.
        The parser stops after such a header, so uvicorn would answer without the body. Therefore
        parse the request again without its upgrade field.

        Source:
            RFC 9110, 7.8: a server may ignore the field.
        """
        upgrade = sys.exception()
        if not self._is_upgrade or not isinstance(upgrade, httptools.HttpParserUpgrade):
            return
        self._is_upgrade = False
        version = self.parser.get_http_version().encode()
        start = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)
        fields = [b"%s: %s" % field for field in self.headers if field[0] != b"upgrade"]
        rest = self._parsing[upgrade.args[0] :]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.data_received(b"\r\n".join([start, *fields, b"", rest]))

    def is_overdue(self, now: float) -> bool:
        """Whether the client is over a deadline: to send, to read its answer, or to ask again."""
        if self.transport.get_write_buffer_size() == 0:
            self.unread_since = None
        elif self.unread_since is None:
            self.unread_since = now
        if self._is_answering() or self.idle_since is not None:
            self.waiting_since = None
        elif self.waiting_since is None or self._cycle_before_wait is not self.cycle:
            self.waiting_since, self._cycle_before_wait = now, self.cycle
        return any(
            since is not None and now - since > deadline_s
            for since, deadline_s in (
                (self.waiting_since, REST_DEADLINE_S),
                (self.unread_since, ANSWER_DEADLINE_S),
                (self.idle_since, self.timeout_keep_alive),
            )
        )

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse_header(self) -> None:
        self._refuse(431, f"the header has more than {MAX_HEADER_BYTES} bytes; send fewer")

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be parsed with a problem that has uvicorn's message."""
        self._refuse(400, f"{msg} Send HTTP/1.1")

    def _refuse(self, status: int, detail: str) -> None:
        """Write a problem here, because no request has reached the edge."""
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

    def on_body(self, body: bytes) -> None:
        """Pass on a part of a body, unless the request was refused: then no task reads it."""
        self._num_header_bytes = 0
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        if self.transport.is_closing() or self._is_upgrade:
            return
        super().on_message_complete()
        if self.cycle.response_complete:  # the answer was sent before the body was complete
            self.cycle.more_body = False
            self.idle_since = self.loop.time()


def close_slow(connections: Iterable[Any], now: float) -> int:
    """Close overdue connections; return their number.

    Args:
        connections: uvicorn's; those of another class are left alone.
        now: loop time.
    """
    overdue = [
        one for one in connections if isinstance(one, LimitedProtocol) if one.is_overdue(now)
    ]
    for one in overdue:
        one.transport.abort()
    return len(overdue)


def max_connections() -> int:
    """How many connections leave RESERVED_FILES for the rest of the process."""
    return max(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVED_FILES, 1)


def raise_file_limit() -> None:
    """Raise the soft limit of open files to the hard limit: shells and containers set it lower."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
