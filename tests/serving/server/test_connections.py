"""One HTTP/1.1 connection: limits, upgrades, whole answers, and the worker's server."""

import asyncio
import json
import os
import signal
import socket
from ipaddress import ip_network

import pytest
import uvicorn
from uvicorn.server import ServerState

from serving.api.schemas import ProblemAnswer
from serving.edge.sender import TrustedProxies
from serving.server import worker
from serving.server.connections import MAX_HEADER_BYTES, REST_DEADLINE_S, HttpConnection
from serving.server.pools import Pools
from serving.server.worker import WorkerServer
from serving.shares import SharedPool

PATIENCE_S = 20
KEEP_ALIVE_S = 60
GET = b"GET /livez HTTP/1.1\r\nhost: x\r\n"
CHUNKED = b"POST /read HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


class App:
    """Answers 200 and records the headers; for /read it reads the body first."""

    def __init__(self):
        self.num_entered = 0
        self.seen = []
        self.bodies = []
        self.headers = [(b"content-length", b"2")]
        self.whole = b"ok"
        self.is_whole = True
        self.reads_on = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self, scope, receive, send):
        self.num_entered += 1
        body, more = b"", scope["path"] == "/read"
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        await self.may_answer.wait()
        self.bodies.append(body)
        self.seen.append(dict(scope["headers"]))
        await send({"type": "http.response.start", "status": 200, "headers": self.headers})
        whole = {"type": "http.response.body", "body": self.whole, "more_body": not self.is_whole}
        await send(whole)
        if self.reads_on:
            await receive()


class Connection:
    """Both ends of a connection."""

    def __init__(self, reader, writer, server_end):
        self.reader, self.writer, self.server_end = reader, writer, server_end

    async def send(self, *parts):
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0.01)  # so that each part is received separately

    async def until(self, end):
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readuntil(end)

    async def all(self):
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()

    def is_overdue_in_the_end(self):
        """What a sweep once a second finds after 11 s."""
        now = self.server_end.loop.time()
        looks = [self.server_end.is_overdue(now + second) for second in range(12)]
        assert not any(looks[: int(REST_DEADLINE_S)]), "too soon"
        return looks[-1]


@pytest.fixture
def app():
    return App()


@pytest.fixture
def pools():
    return Pools(TrustedProxies(()))


@pytest.fixture
async def connection(app, pools):
    config = uvicorn.Config(
        app, ws="none", log_config=None, loop="uvloop", timeout_keep_alive=KEEP_ALIVE_S
    )
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: HttpConnection(pools, config, state, {}), "127.0.0.1", 0
    )
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    while not state.connections:  # noqa: ASYNC110  what is waited for
        await asyncio.sleep(0.01)
    yield Connection(reader, writer, next(iter(state.connections)))
    writer.close()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    "owed",
    [
        [],
        [GET],
        [GET + b"\r\n", b"\r\n"],
        [GET + b"\r\n", GET],
        [GET + b"content-length: 9\r\n\r\n"],
        [GET + b"content-length: 9\r\n\r\n", b"x"],
        [GET + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"],
        [GET + b"transfer-encoding: chunked\r\n\r\n", b"0\r\n", b"x-trailer: "],
    ],
    ids=[
        "nothing",
        "header",
        "blank line",
        "next header",
        "whole body",
        "body",
        "chunks",
        "trailer",
    ],
)
async def test_a_client_that_sends_half_a_message_becomes_overdue(connection, owed):
    await connection.send(*owed)
    assert connection.is_overdue_in_the_end()


async def test_an_idle_connection_is_not_overdue(connection):
    await connection.send(GET + b"\r\n")
    await connection.until(b"ok")
    assert not connection.is_overdue_in_the_end()


async def test_a_body_that_comes_after_its_answer_leaves_the_connection_idle(connection):
    await connection.send(GET + b"content-length: 9\r\n\r\n")
    await connection.until(b"ok")
    await connection.send(b"123456789")
    assert not connection.is_overdue_in_the_end()
    await connection.send(GET + b"\r\n")
    await connection.until(b"ok")


async def test_an_idle_connection_is_closed_after_the_keep_alive_time(connection):
    await connection.send(GET + b"\r\n")
    await connection.until(b"ok")
    now = connection.server_end.loop.time()
    assert not connection.server_end.is_overdue(now + KEEP_ALIVE_S - 1)
    assert connection.server_end.is_overdue(now + KEEP_ALIVE_S + 1)


async def test_a_connection_is_idle_only_since_its_last_answer(connection):
    await connection.send(GET + b"\r\n")
    await connection.until(b"ok")
    idle_since = connection.server_end.idle_since
    await asyncio.sleep(0.05)
    await connection.send(GET + b"\r\n")
    await connection.until(b"ok")
    assert connection.server_end.idle_since >= idle_since + 0.05


async def test_a_request_that_is_being_answered_is_not_overdue(connection):
    """The edge enforces its deadline."""
    await connection.send(CHUNKED, b"1\r\nx\r\n")
    assert not connection.is_overdue_in_the_end()


async def test_each_request_has_its_own_deadline(connection):
    now = connection.server_end.loop.time()
    await connection.send(GET)
    assert not connection.server_end.is_overdue(now)
    await connection.send(b"\r\n" + GET)
    await connection.until(b"ok")
    await connection.send(b"x: y\r\n")
    assert not connection.server_end.is_overdue(now + REST_DEADLINE_S + 1)


async def test_trailers_are_not_added_to_the_headers(connection, app):
    await connection.send(CHUNKED, b"1\r\nx\r\n", b"0\r\nx-api-key: late\r\n\r\n")
    await connection.until(b"ok")
    assert app.seen == [{b"host": b"x", b"transfer-encoding": b"chunked"}]


UPGRADE = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAAB\r\n"
LENGTH = b"POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n"


@pytest.mark.parametrize(
    ("sent", "bodies"),
    [
        ([LENGTH + UPGRADE + b"\r\nhello"], [b"hello"]),
        ([LENGTH + UPGRADE[:30], UPGRADE[30:] + b"\r\nhe", b"llo"], [b"hello"]),
        ([LENGTH + UPGRADE + b"\r", b"\n", b"hello"], [b"hello"]),
        ([CHUNKED[:-2] + UPGRADE + b"\r\n5\r\nhello\r\n", b"0\r\n\r\n"], [b"hello"]),
        ([LENGTH + UPGRADE + b"\r\nhello", LENGTH + b"\r\nagain"], [b"hello", b"again"]),
        ([(LENGTH + UPGRADE + b"\r\nhello") * 2], [b"hello", b"hello"]),
        ([GET + UPGRADE + b"\r\n" + LENGTH + b"\r\nhello"], [b"", b"hello"]),
        ([GET + UPGRADE.replace(b"h2c", b"websocket") + b"\r\n"], [b""]),
    ],
    ids=["whole", "parts", "end", "chunks", "next", "twice", "pipelined", "websocket"],
)
async def test_an_upgrade_is_declined_by_an_answer_to_the_whole_request(
    connection, app, sent, bodies
):
    await connection.send(*sent)
    for _ in bodies:
        head = await connection.until(b"ok")
        assert head.startswith(b"HTTP/1.1 200 ")
    assert app.bodies == bodies
    assert all(b"upgrade" not in headers for headers in app.seen)


@pytest.mark.parametrize("line", [b"x-trailer: " + b"y" * 1000 + b"\r\n", b"y" * 1000])
async def test_endless_trailers_end_the_connection(connection, line):
    start = [CHUNKED, b"1\r\nx\r\n", b"0\r\nx: "]
    await connection.send(*start, *[line] * (MAX_HEADER_BYTES // 1000 + 1))
    assert (await connection.all()).startswith(b"HTTP/1.1 431 ")


async def test_a_large_body_does_not_count_as_header(connection):
    part = b"%x\r\n%s\r\n" % (1000, b"x" * 1000)
    await connection.send(CHUNKED, *[part] * (MAX_HEADER_BYTES // 1000 + 2), b"0\r\n\r\n")
    await connection.until(b"ok")


@pytest.mark.parametrize(
    ("sent", "status", "detail"),
    [
        ([GET + b"x: " + b"y" * MAX_HEADER_BYTES], 431, f"more than {MAX_HEADER_BYTES} bytes"),
        ([GET, b"x: ", *[b"y" * 1000] * 17], 431, f"more than {MAX_HEADER_BYTES} bytes"),
        ([GET + b"x: " + b"y" * MAX_HEADER_BYTES, b"\r\n\r\n"], 431, "send fewer"),
        ([b"GET / HTTP/9.9\r\n\r\n"], 505, "HTTP/1.1"),
        ([b"\x16\x03\x01\x02\x00\x01\x00\x01"], 400, "HTTP/1.1"),
    ],
    ids=["header", "header in parts", "header and its end", "version", "TLS"],
)
async def test_an_unreadable_request_is_answered_with_a_problem(connection, sent, status, detail):
    if status == 431 and len(sent) == 1:
        sent = [sent[0] + b"\r\n\r\n"]
    await connection.send(*sent)
    head, _, body = (await connection.all()).partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0].startswith(f"http/1.1 {status} ")
    assert "content-type: application/problem+json" in lines
    assert "connection: close" in lines
    assert f"content-length: {len(body)}" in lines
    problem = ProblemAnswer.model_validate(json.loads(body))
    assert (problem.status, detail in problem.detail) == (status, True)
    assert f"x-request-id: {problem.request_id}" in lines


async def test_an_answer_has_the_servers_headers_its_own_and_its_body(connection, app):
    connection.server_end.server_state.default_headers = [(b"date", b"today")]
    app.headers.append((b"x-model-version", b"7"))
    await connection.send(GET + b"\r\n")
    assert await connection.until(b"ok") == (
        b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 2\r\nx-model-version: 7\r\n\r\nok"
    )


async def test_an_answer_to_head_has_no_body(connection):
    head = GET.replace(b"GET", b"HEAD") + b"\r\n"
    await connection.send(head, GET + b"\r\n")
    first = await connection.until(b"\r\n\r\n")
    assert b"content-length: 2" in first
    assert (await connection.until(b"ok")).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("reads_on", [False, True])
async def test_100_continue_is_sent_only_before_the_answer(connection, app, reads_on):
    app.reads_on = reads_on
    expecting = b"host: x\r\ncontent-length: 1\r\nexpect: 100-continue\r\n\r\n"
    await connection.send(b"POST /read HTTP/1.1\r\n" + expecting)
    assert await connection.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await connection.send(b"x")
    assert (await connection.until(b"ok")).startswith(b"HTTP/1.1 200 ")
    await connection.send(b"POST /other HTTP/1.1\r\n" + expecting)
    assert (await connection.until(b"ok")).startswith(b"HTTP/1.1 200 ")
    await connection.send(b"x" + GET + b"\r\n")
    assert (await connection.until(b"ok")).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("sent", "headers"),
    [
        (GET.replace(b"1.1", b"1.0") + b"\r\n", []),
        (GET + b"connection: close\r\n\r\n", []),
        (GET + b"\r\n", [(b"connection", b"close")]),
    ],
    ids=["HTTP/1.0", "client", "application"],
)
async def test_a_connection_without_keep_alive_is_closed_after_connection_close(
    connection, app, sent, headers
):
    app.headers += headers
    await connection.send(sent)
    whole = await connection.all()
    assert whole.count(b"connection: close\r\n") == 1
    assert whole.endswith(b"ok")


async def test_a_header_with_a_line_break_is_never_sent(connection, app):
    app.headers.append((b"x-request-id", b"1\r\nset-cookie: a=b"))
    await connection.send(GET + b"\r\n")
    assert await connection.all() == b""


async def test_half_an_answer_is_never_sent(connection, app):
    app.is_whole = False
    await connection.send(GET + b"\r\n")
    assert await connection.all() == b""


async def test_pipelined_requests_are_answered_in_order(connection, app):
    first = CHUNKED + b"1\r\na\r\n0\r\n\r\n"
    second = CHUNKED + b"1\r\nb\r\n0\r\n\r\n"
    await connection.send(first + second + GET + b"\r\n")
    for _ in range(3):
        await connection.until(b"ok")
    assert app.bodies == [b"a", b"b", b""]


async def test_no_more_is_read_while_a_pipelined_request_waits(connection, app):
    app.may_answer.clear()
    await connection.send((GET + b"\r\n") * 2)
    assert connection.server_end.is_paused
    assert app.num_entered == 1
    app.may_answer.set()
    for _ in range(2):
        await connection.until(b"ok")
    assert not connection.server_end.is_paused


async def test_a_target_in_absolute_form_is_served(connection):
    await connection.send(b"GET http://host HTTP/1.1\r\nhost: host\r\n\r\n")
    assert (await connection.until(b"ok")).startswith(b"HTTP/1.1 200 ")


@pytest.fixture
def worker_server():
    """A worker's server without a socket, and both ends of its ready pipe."""
    ready, told = os.pipe()
    # Without log_config=None, uvicorn sets up its loggers for every later test of this process.
    yield WorkerServer(uvicorn.Config(App(), log_config=None), told), ready, told
    os.close(ready)


async def test_a_server_reports_ready_and_exits_on_a_signal(worker_server, monkeypatch):
    monkeypatch.setattr(worker, "TICK_S", 1000.0)
    server, ready, _ = worker_server
    serving = asyncio.create_task(server.main_loop())
    assert await asyncio.to_thread(os.read, ready, 1) == b"1"
    server.handle_exit(signal.SIGTERM, None)
    async with asyncio.timeout(20):
        await serving
    assert dict(server.server_state.default_headers)[b"date"]


async def test_a_server_sweeps_slow_connections_periodically(worker_server, monkeypatch):
    looks = asyncio.Semaphore(0)
    monkeypatch.setattr(worker, "TICK_S", 0.01)
    monkeypatch.setattr(worker, "close_slow", lambda connections, now: looks.release())
    server, *_ = worker_server
    serving = asyncio.create_task(server.main_loop())
    async with asyncio.timeout(20):
        for _ in range(3):
            await looks.acquire()
    server.handle_exit(signal.SIGINT, None)
    await serving


async def test_a_signal_during_start_prevents_the_ready_report(worker_server):
    server, ready, told = worker_server
    server.config.lifespan = "off"
    server.handle_exit(signal.SIGTERM, None)
    # uvicorn raises the signal again when it has ended.
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        await serve_at_a_free_port(server)
    finally:
        signal.signal(signal.SIGTERM, before)
    os.close(told)
    assert os.read(ready, 1) == b""


async def serve_at_a_free_port(server):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        async with asyncio.timeout(20):
            await server.serve([listener])


async def test_a_client_that_reads_nothing_gets_one_answer_and_is_not_read_from(
    connection, app, pools
):
    app.headers = [(b"content-length", b"16000000")]
    app.whole = b"x" * 16_000_000
    await connection.send((GET + b"\r\n") * 500)
    await asyncio.sleep(0.1)
    assert app.num_entered == 1
    assert connection.server_end.is_paused
    assert 0 < pools.waiting_bytes.total < 17_000_000


async def test_what_waits_is_released_when_the_client_reads(connection, app, pools):
    app.headers = [(b"content-length", b"2000000")]
    app.whole = b"x" * 2_000_000
    await connection.send((GET + b"\r\n") * 3)
    for _ in range(3):
        await connection.until(b"\r\n\r\n")
        async with asyncio.timeout(PATIENCE_S):
            await connection.reader.readexactly(2_000_000)
    await asyncio.sleep(0.05)
    assert pools.waiting_bytes.total == 0
    assert app.num_entered == 3


async def test_a_sender_that_leaves_too_much_unread_loses_its_connection(connection, app, pools):
    pools.waiting_bytes = SharedPool(1_000_000)
    app.headers = [(b"content-length", b"16000000")]
    app.whole = b"x" * 16_000_000
    await connection.send(GET + b"\r\n")
    await closed(connection)


async def test_400_upgrades_in_one_segment_are_answered_one_after_another(connection, app):
    await connection.send((GET + UPGRADE + b"\r\n") * 400)
    for _ in range(400):
        assert (await connection.until(b"ok")).startswith(b"HTTP/1.1 200 ")
    assert app.num_entered == 400


@pytest.mark.parametrize(
    "sent",
    [
        [GET + b"\r\n"],
        [LENGTH + b"\r\nhello"],
        [LENGTH + b"\r\nhe", b"llo"],
        [CHUNKED, b"5\r\nhello\r\n", b"0\r\n\r\n"],
        [(GET + b"\r\n") * 3],
    ],
    ids=["get", "post", "parts", "chunks", "pipelined"],
)
async def test_a_client_that_sends_no_more_gets_its_answers(connection, app, sent):
    app.may_answer.clear()
    await connection.send(*sent)
    connection.writer.write_eof()
    await asyncio.sleep(0.05)
    app.may_answer.set()
    whole = await connection.all()
    assert whole.count(b"HTTP/1.1 200 ") == whole.count(b"ok") == sent[0].count(b"HTTP/1.1")


@pytest.mark.parametrize("sent", [GET, LENGTH + b"\r\nhe"], ids=["header", "body"])
async def test_a_client_that_ends_within_a_request_is_closed(connection, sent):
    await connection.send(sent)
    connection.writer.write_eof()
    await connection.all()
    await closed(connection)


@pytest.mark.parametrize("size", [70_000, 700_000, 8_500_000])
async def test_a_refusal_reaches_a_client_that_sends_its_whole_body_first(connection, app, size):
    app.headers.append((b"connection", b"close"))
    head = GET.replace(b"GET", b"POST") + b"content-length: %d\r\n\r\n" % size
    connection.writer.write(head + b"x" * size)
    async with asyncio.timeout(PATIENCE_S):
        await connection.writer.drain()
    whole = await connection.all()
    assert whole.endswith(b"ok")
    connection.writer.close()
    await closed(connection)


@pytest.mark.parametrize("sent", [b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])
async def test_a_parse_error_reaches_a_client_that_still_sends(connection, sent):
    connection.writer.write(sent + b"x" * 1_000_000)
    async with asyncio.timeout(PATIENCE_S):
        await connection.writer.drain()
    assert (await connection.all()).startswith((b"HTTP/1.1 505 ", b"HTTP/1.1 400 "))


async def test_an_answered_client_that_does_not_close_is_closed_after_a_second(connection):
    await connection.send(GET + b"connection: close\r\n\r\n")
    await connection.all()
    now = connection.server_end.loop.time()
    assert not connection.server_end.is_overdue(now + 0.5)
    assert connection.server_end.is_overdue(now + 1.5)


async def test_an_answered_client_that_goes_on_sending_is_closed_after_16_mb(connection):
    await connection.send(GET + b"connection: close\r\n\r\n")
    await connection.all()
    connection.writer.write(b"x" * 30_000_000)
    await closed(connection)


async def test_a_sender_with_its_share_of_lingering_connections_is_closed_at_once(
    connection, pools
):
    pools.lingering = SharedPool(1)
    await connection.send(GET + b"connection: close\r\n\r\n")
    await connection.all()
    await closed(connection)


async def test_pools_are_empty_when_all_connections_are_closed(connection, pools):
    await connection.send(GET + b"connection: close\r\n\r\n")
    await connection.all()
    assert (pools.connections.total, pools.lingering.total) == (1, 1)
    connection.writer.close()
    await closed(connection)
    assert (pools.connections.total, pools.lingering.total, len(pools.connections)) == (0, 0, 0)


async def closed(connection):
    """Wait until the server's end is closed."""
    async with asyncio.timeout(PATIENCE_S):
        while connection.server_end in connection.server_end.server_state.connections:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class Ends(asyncio.Transport):
    """A transport from a given address."""

    def __init__(self, peer):
        super().__init__({"peername": (peer, 5), "sockname": ("10.0.0.5", 3000)})
        self.is_aborted = False

    def abort(self):
        self.is_aborted = True

    def set_write_buffer_limits(self, high=None, low=None):
        pass

    def is_closing(self):
        return self.is_aborted


@pytest.fixture
async def connect(app, pools):
    """Accept a connection from an address; whether it stays open."""
    config = uvicorn.Config(app, ws="none", log_config=None)
    config.load()
    state = ServerState()
    kept = []

    def accept(peer):
        transport = Ends(peer)
        kept.append(HttpConnection(pools, config, state, {}))
        kept[-1].connection_made(transport)
        return not transport.is_aborted

    return accept


async def test_one_address_cannot_take_all_connections(connect, pools):
    pools.connections = SharedPool(100)
    assert sum(connect("192.0.2.1") for _ in range(200)) == 50
    assert connect("192.0.2.2")
    assert sum(connect(f"2001:db8::{n:x}") for n in range(100)) < 30
    assert connect("2001:db8:0:1::1")


async def test_a_trusted_proxy_may_take_all_connections(connect, pools):
    pools.connections = SharedPool(100)
    pools._trusted = TrustedProxies((ip_network("10.0.0.0/8"),))
    assert sum(connect("10.0.0.1") for _ in range(200)) >= 98


@pytest.mark.parametrize("parts", [[b"\r\n" * 9], [b"\r", b"\n"], [b"\r\n\r", b"\n\r\n"]])
async def test_empty_lines_before_a_request_are_ignored(connection, parts):
    await connection.send(*parts, GET + b"\r\n")
    assert (await connection.until(b"ok")).startswith(b"HTTP/1.1 200 ")
