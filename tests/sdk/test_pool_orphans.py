"""A request that is cancelled, at whatever moment, takes no connection's place for ever."""

import asyncio
import contextlib

import pytest

from digitline import exchange as exchange_module
from digitline.exchange import exchange, open_http
from loadtest.faults.own_certificate import write_certificate

MOST_TURNS = 120  # of the event loop: enough to connect, send and wait through a proxy and TLS
GONE = OSError, asyncio.IncompleteReadError, asyncio.CancelledError  # of a peer, or the test ends
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def answer_good_paths(reader, writer):
    """Answers all but /silent."""
    with contextlib.suppress(*GONE):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"/silent" not in head:
                writer.write(ANSWER)
    writer.close()


async def tunnel(reader, writer):
    """A proxy: CONNECT to a port of this machine."""

    async def pump(source, sink):
        with contextlib.suppress(OSError), contextlib.closing(sink):
            while part := await source.read(65_536):
                sink.write(part)

    with contextlib.suppress(*GONE):
        head = await reader.readuntil(b"\r\n\r\n")
        port = int(head.split()[1].rpartition(b":")[2])
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 made\r\n\r\n")
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
    writer.close()


@contextlib.asynccontextmanager
async def listening(serve, tls=None):
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


def get(http, path):
    url = http.base_url.join(path)
    return exchange(http, "GET", url, request_id="one", headers={})


async def cancel_after(turns, task):
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(params=["plain", "tls", "tunnel"])
def way(request, monkeypatch, tmp_path):
    """Of the only connection that the pool may have; gives the client."""
    monkeypatch.setattr(exchange_module, "MOST_CONNECTIONS", 1)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    tls = None
    if request.param != "plain":
        tls = write_certificate(tmp_path / "ca.pem", "localhost")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    @contextlib.asynccontextmanager
    async def opened():
        async with contextlib.AsyncExitStack() as stack:
            port = await stack.enter_async_context(listening(answer_good_paths, tls))
            if request.param == "tunnel":
                proxy_port = await stack.enter_async_context(listening(tunnel))
                monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy_port}")
                monkeypatch.setenv("NO_PROXY", "other.example")  # a way without a pool
            host = "http://127.0.0.1" if tls is None else "https://localhost"
            http = await stack.enter_async_context(open_http(f"{host}:{port}", None, None))
            yield http

    return opened


async def test_a_cancelled_request_frees_its_place(way):
    async with way() as http:
        for turns in range(MOST_TURNS):
            await cancel_after(turns, asyncio.create_task(get(http, "/silent")))
            async with asyncio.timeout(10):  # without a free place it waits for ever
                assert (await get(http, "/good")).body == b"ok", turns


async def test_a_request_that_waits_for_a_place_frees_it_too(way):
    async with way() as http:
        for turns in range(MOST_TURNS):
            first = asyncio.create_task(get(http, "/silent"))
            await asyncio.sleep(0)
            second = asyncio.create_task(get(http, "/silent"))
            await asyncio.sleep(0)
            first.cancel()
            await cancel_after(turns, second)
            await asyncio.gather(first, return_exceptions=True)
            async with asyncio.timeout(10):
                assert (await get(http, "/good")).body == b"ok", turns


async def test_who_waits_gets_the_place_of_a_cancelled_one(way):
    async with way() as http:
        for turns in range(MOST_TURNS):
            first = asyncio.create_task(get(http, "/silent"))
            await asyncio.sleep(0)
            second = asyncio.create_task(get(http, "/good"))
            await cancel_after(turns, first)
            async with asyncio.timeout(10):
                assert (await second).body == b"ok", turns
