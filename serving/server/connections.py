"""One HTTP/1.1 connection: requests one after another, their answers, deadlines and the end.

The next request is parsed when the last answer has left, so a client that sends many requests and
reads no answer costs one read and one answer. A client that stalls, and one that holds too much of
what all connections share, is closed.
"""

from asyncio import AbstractEventLoop, Protocol, Transport, get_event_loop
from collections.abc import Iterable
from typing import Any, Final

import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.protocols.utils import get_local_addr, get_remote_addr
from uvicorn.server import ServerState

from serving.edge.request_id import new_request_id
from serving.problems import Problem, to_answer
from serving.server.body_framing import ChunkedBody, LengthBody
from serving.server.lingering import LingeringClose
from serving.server.pools import Pools
from serving.server.request_head import Head, check_request_line, parse_head
from serving.server.response_cycle import Cycle

REST_DEADLINE_S: Final = 10.0  # to send a header, or the rest of a request that is already answered
ANSWER_DEADLINE_S: Final = 30.0  # to read an answer
MAX_HEADER_BYTES: Final = 16_384
_HEAD_END: Final = b"\r\n\r\n"
log = structlog.get_logger()


class HttpConnection(Protocol):
    """uvicorn's side of a connection: uvicorn.Server makes one for each, and ends it.

    A sweep once a second finds overdue connections (close_slow): a timer for each request would
    cost more.

    Args:
        pools: what all connections share.
        config: uvicorn's, with the application.
        server_state: uvicorn's: connections, tasks and default headers.
        app_state: uvicorn's: the state of ASGI's lifespan.
    """

    def __init__(
        self,
        pools: Pools,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
    ) -> None:
        self.loop = _loop or get_event_loop()
        self.server_state = server_state
        self.transport: Transport
        self.cycle: Cycle | None = None  # the current request, or the last one
        self.is_paused = False  # no bytes are received
        self.is_unread = False  # a part of the answer has not left this process
        self.idle_since: float | None = None  # loop time; None: not idle between two requests
        self.waiting_since: float | None = None  # None: no bytes are expected from the client
        self.unread_since: float | None = None  # None: no answer waits to be read
        self._cycle_before_wait: Cycle | None = None  # the last request before that
        self._config = config
        self._app_state = app_state
        self._pools = pools
        self._received = b""  # not parsed yet
        self._body: LengthBody | ChunkedBody | None = None  # being received; None: a head comes
        self._has_ended = False  # the client sends no more
        self._is_leaving = False  # no more requests
        self._lingering: LingeringClose | None = None
        self._num_held = 0  # bytes of the pool: unread answers, requests that wait

    def connection_made(self, transport: Any) -> None:
        """Accept a connection, unless its sender holds its share of them."""
        self.transport = transport
        self.client = get_remote_addr(transport)
        self.server = get_local_addr(transport)
        peer = self.client[0] if self.client else ""
        self.sender = self._pools.sender_of(peer, self)
        self._is_admitted = self._pools.connections.take(self.sender, 1)
        if self._is_admitted:
            self.server_state.connections.add(self)  # type: ignore[arg-type]
            transport.set_write_buffer_limits(high=0)  # pause_writing says what has not left
        else:
            self._is_leaving = True
            log.warning("connection refused: its address holds too many", peer=peer)
            transport.abort()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Give back what the connection holds, and tell the application."""
        self.server_state.connections.discard(self)
        self._is_leaving = True
        self._received = b""
        if self._is_admitted:
            self._is_admitted = False
            self._pools.connections.give_back(self.sender, 1)
        self._release()
        if self._lingering is not None:
            self._pools.lingering.give_back(self.sender, 1)
            self._lingering = None
        if self.cycle is not None:
            self.cycle.disconnect()
            self.cycle = None

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, as far as their turn has come."""
        if self._is_leaving:
            return
        self.idle_since = None
        self._received = self._received + data if self._received else data
        self._parse()

    def eof_received(self) -> bool:
        """The client sends no more. Complete requests are answered; then it closes."""
        self._has_ended = True
        return self.is_unread or (self._body is None and self._is_answering())

    def _is_answering(self) -> bool:
        cycle = self.cycle
        return cycle is not None and not (cycle.is_answered or cycle.is_disconnected)

    def _parse(self) -> None:
        """Take requests out of the received bytes until one must wait, or more bytes must come."""
        try:
            while self._received and not self._is_leaving:
                if self._body is not None:
                    if not self._take_body(self._body):
                        return
                elif self._is_answering() or self.is_unread:
                    self._wait_for_turn()
                    return
                elif not self._take_head():
                    return
        except Problem as problem:
            self._refuse(problem)

    def _wait_for_turn(self) -> None:
        """Let received requests wait until the answer before them has left."""
        self.pause_reading()
        self._hold(len(self._received))

    def _take_head(self) -> bool:
        """Begin a request if its head is complete; False: more bytes must come.

        Raises:
            Problem: the head is malformed or too large.
        """
        received = self._received
        if received.startswith(
            (b"\r", b"\n")
        ):  # RFC 9112, 2.2: ignore empty lines before a request
            received = self._received = received.lstrip(b"\r\n")
        end = received.find(_HEAD_END, 0, MAX_HEADER_BYTES + len(_HEAD_END)) + len(_HEAD_END)
        if end < len(_HEAD_END):
            check_unfinished_head(received)
            return False
        head = parse_head(received[:end])
        cycle = self._begin(head)
        length = head.content_length
        if length is not None and length <= len(received) - end:  # most bodies come with their head
            self._received = received[end + length :]
            cycle.add_body(received[end : end + length], is_complete=True)
        else:
            self._received = received[end:]
            self._body = ChunkedBody() if length is None else LengthBody(length)
        return True

    def _begin(self, head: Head) -> Cycle:
        """Start to answer a request."""
        cycle = self.cycle = Cycle(
            self._scope(head),
            self,
            self.transport,
            self.server_state.default_headers,
            expects_continue=head.expects_continue,
            keeps_alive=head.keeps_alive,
        )
        task = self.loop.create_task(cycle.run(self._config.loaded_app))
        task.add_done_callback(self.server_state.tasks.discard)
        self.server_state.tasks.add(task)
        return cycle

    def _scope(self, head: Head) -> dict[str, Any]:
        """The ASGI scope of a request."""
        return {
            "type": "http",
            "asgi": {"version": self._config.asgi_version, "spec_version": "2.3"},
            "http_version": head.version,
            "server": self.server,
            "client": self.client,
            "scheme": "http",
            "root_path": self._config.root_path,
            "headers": head.headers,
            "state": self._app_state.copy(),
            "method": head.method,
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query_string,
        }

    def _take_body(self, body: LengthBody | ChunkedBody) -> bool:
        """Pass on the received part of the body; False: more bytes must come.

        Raises:
            Problem: the chunks are malformed.
        """
        assert self.cycle is not None
        part, self._received = body.take(self._received)
        if part or body.is_complete:
            self.cycle.add_body(part, is_complete=body.is_complete)
        if body.is_complete:
            self._body = None
            if self.cycle.is_answered and not self._received:  # answered before it was complete
                self.idle_since = self.loop.time()
        return body.is_complete

    def on_answered(self) -> None:
        """The answer was written; what has not left yet is in the write buffer."""
        self.server_state.total_requests += 1
        if not self.is_unread:
            self._go_on()

    def _go_on(self) -> None:
        """The answer has left: turn to the next request, or close."""
        if self.transport.is_closing():
            return
        if self._num_held:
            self._release()
        if self._is_leaving or (self.cycle is not None and not self.cycle.keeps_alive):
            self._leave()
            return
        if self.is_paused:
            self.resume_reading()
        if self._received:
            self._parse()
        elif self._body is None:
            self.idle_since = self.loop.time()
        if self._has_ended and not self._is_answering():
            self._leave()

    def pause_writing(self) -> None:
        """A part of the answer has not left: the kernel's buffer is full."""
        self.is_unread = True
        self._hold(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """All of the answer has left."""
        self.is_unread = False
        if not self._is_answering():
            self._go_on()

    def _hold(self, num_bytes: int) -> None:
        """Take memory from the pool; close the connection if its sender holds its share."""
        if self._pools.waiting_bytes.take(self.sender, num_bytes):
            self._num_held += num_bytes
        else:
            log.warning("connection closed: its address leaves too many answers unread")
            self.transport.abort()

    def _release(self) -> None:
        self._pools.waiting_bytes.give_back(self.sender, self._num_held)
        self._num_held = 0

    def pause_reading(self) -> None:
        """Receive no more bytes."""
        if not self.is_paused:
            self.is_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Receive bytes again."""
        if self.is_paused and not self._has_ended and not self.transport.is_closing():
            self.is_paused = False
            self.transport.resume_reading()

    def _leave(self) -> None:
        """Close the connection so that the last answer reaches the client."""
        self._is_leaving = True
        self._received = b""
        if self.is_unread:
            return  # resume_writing comes back
        if self._has_ended or not self._pools.lingering.take(self.sender, 1):
            self.transport.close()
            return
        self._lingering = LingeringClose(self.transport, self.loop.time(), self.connection_lost)
        self.resume_reading()

    def _refuse(self, problem: Problem) -> None:
        """Answer what is not a request, or not all of one. No request has reached the edge."""
        if self.cycle is not None and self._body is not None:
            if self.cycle.is_answered:  # what is malformed is only the rest of its body
                self._leave()
                return
            self.cycle.disconnect()
        request_id = new_request_id()
        answer = to_answer(problem, request_id, is_open_inference=False)
        lines = [
            b"content-type: " + answer.content_type,
            b"content-length: %d" % len(answer.body),
            b"x-request-id: " + request_id.encode(),
            *(b"%s: %s" % header for header in answer.headers),
        ]
        self.transport.write(STATUS_LINE[problem.status] + b"\r\n".join([*lines, b"", answer.body]))
        self._leave()

    def fail(self) -> None:
        """Answer 500, because the application has not answered."""
        if self.cycle is not None:
            self.cycle.disconnect()
        self._refuse(Problem(500, "the service failed; see its log", closes_connection=True))

    def abort(self) -> None:
        """Close at once."""
        self.transport.abort()

    def shutdown(self) -> None:
        """Uvicorn stops: close after the current answer."""
        if self._is_answering():
            assert self.cycle is not None
            self.cycle.keeps_alive = False
        elif self._lingering is None:
            self.transport.close()

    def is_overdue(self, now: float) -> bool:
        """Whether the client is over a deadline: to send, to read its answer, or to ask again."""
        if self._lingering is not None:
            return self._lingering.is_overdue(now)
        if not self.is_unread:
            self.unread_since = None
        elif self.unread_since is None:
            self.unread_since = now
        if self._is_answering() or self.is_unread or self.idle_since is not None:
            self.waiting_since = None
        elif self.waiting_since is None or self._cycle_before_wait is not self.cycle:
            self.waiting_since, self._cycle_before_wait = now, self.cycle
        return any(
            since is not None and now - since > deadline_s
            for since, deadline_s in (
                (self.waiting_since, REST_DEADLINE_S),
                (self.unread_since, ANSWER_DEADLINE_S),
                (self.idle_since, self._config.timeout_keep_alive),
            )
        )


def check_unfinished_head(received: bytes) -> None:
    """Refuse what cannot become a head, whatever follows.

    Raises:
        Problem: 400, or 431 if it is too large.
    """
    if len(received) > MAX_HEADER_BYTES:
        detail = f"the header has more than {MAX_HEADER_BYTES} bytes; send fewer"
        raise Problem(431, detail, closes_connection=True)
    line_end = received.find(b"\r\n")
    is_line_open = line_end < 0 and b"\n" not in received
    if received and not (is_line_open and received[:1].isalpha()):
        check_request_line(received, line_end)
    num_lines = received.count(b"\r\n")
    if num_lines != received.count(b"\n"):
        raise Problem(
            400, "a line of the header ends without a carriage return", closes_connection=True
        )


def close_slow(connections: Iterable[Any], now: float) -> int:
    """Close overdue connections; return their number.

    Args:
        connections: uvicorn's.
        now: loop time.
    """
    overdue = [one for one in connections if one.is_overdue(now)]
    for one in overdue:
        one.transport.abort()
    return len(overdue)
