import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest

from loadtest.clients.http1 import BrokenAnswer, Connection, Request, multipart
from loadtest.clients.openloop import burst, constant, drive, run

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
WIRE = Request("/digit", "image/png", b"pixels").wire("host")
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        server.close()


def answering(*answers: bytes, delay_s: float = 0.0) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        turn = 0
        try:
            while await reader.readexactly(len(WIRE)):
                await asyncio.sleep(delay_s)
                writer.write(answers[turn % len(answers)])
                turn += 1
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    return handle


async def test_every_request_is_sent_once_and_answered():
    async with serving(answering(OK)) as port:
        sample = await drive("127.0.0.1", port, [WIRE], constant(200, 0.2))
    assert sample.statuses() == {"200": 40}
    assert sample.num_failed == 0
    assert (sample.latency_ms > 0).all()


async def test_a_generator_that_shares_its_core_sleeps_instead_of_polling(monkeypatch):
    async def refuse(when: float) -> None:
        raise AssertionError("the generator polled")

    monkeypatch.setattr("loadtest.clients.openloop.poll_until", refuse)
    async with serving(answering(OK)) as port:
        sample = await drive("127.0.0.1", port, [WIRE], constant(200, 0.2), shares_core=True)
    assert sample.statuses() == {"200": 40}
    assert sample.late_ms >= 0


async def test_latency_includes_the_wait_behind_a_stalled_request():
    """One connection and 50 ms an answer: the tenth request waits for nine others."""
    async with serving(answering(OK, delay_s=0.05)) as port:
        sample = await drive("127.0.0.1", port, [WIRE], burst(10), max_connections=1)
    assert sample.latency_ms[-1] >= 10 * 50 * 0.99
    assert (np.diff(np.sort(sample.latency_ms)) > 40).all()


async def test_refused_requests_count_as_failed_and_not_as_fast():
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
    async with serving(answering(busy)) as port:
        sample = await drive("127.0.0.1", port, [WIRE], burst(4))
    assert sample.num_failed == 4
    assert sample.percentile_ms(99) == float("inf")


async def test_an_unanswered_request_counts_as_failed():
    async with serving(answering(OK, delay_s=5)) as port:
        sample = await drive("127.0.0.1", port, [WIRE], burst(3), timeout_s=0.1)
    assert sample.statuses() == {"0": 3}


async def test_a_wrong_answer_is_counted():
    async with serving(answering(OK)) as port:
        sample = await drive(
            "127.0.0.1", port, [WIRE], burst(4), is_right=lambda number, _: number != 2
        )
    assert (sample.num_wrong, sample.num_failed) == (1, 0)


async def test_a_chunked_answer_is_joined():
    chunked = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    )
    async with serving(answering(chunked, OK)) as port:
        connection = await Connection.open("127.0.0.1", port)
        assert (await connection.send(WIRE)).body == b"abcde"
        assert (await connection.send(WIRE)).body == b"ok"
        connection.close()


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 what\r\nContent-Length: 2\r\n\r\nok"]
)
async def test_an_answer_that_is_not_http_is_an_error(answer):
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(answer)
        writer.close()

    async with serving(handle) as port:
        connection = await Connection.open("127.0.0.1", port)
        with pytest.raises(BrokenAnswer):
            await connection.send(WIRE)
        connection.close()


def test_the_uvloop_event_loop_gives_the_same_answers():
    def serve(ready: queue.Queue[int], stop: threading.Event) -> None:
        async def main() -> None:
            async with serving(answering(OK)) as port:
                ready.put(port)
                while not stop.is_set():  # noqa: ASYNC110 (a thread sets it)
                    await asyncio.sleep(0.01)

        asyncio.run(main())

    ready: queue.Queue[int] = queue.Queue()
    stop = threading.Event()
    thread = threading.Thread(target=serve, args=(ready, stop))
    thread.start()
    try:
        sample = run("127.0.0.1", ready.get(timeout=10), [WIRE], constant(200, 0.2))
    finally:
        stop.set()
        thread.join()
    assert sample.statuses() == {"200": 40}


async def test_an_empty_list_of_arrivals_is_no_error():
    async with serving(answering(OK)) as port:
        sample = await drive("127.0.0.1", port, [WIRE], burst(0))
    assert sample.statuses() == {}


def test_constant_arrivals_are_evenly_spaced():
    assert constant(100, 0.05).tolist() == [0.0, 0.01, 0.02, 0.03, 0.04]


def test_a_form_carries_its_files_and_the_callers_headers():
    request = multipart("/digits", "images", [b"one", b"two"], {"X-Api-Key": "k"})
    boundary = request.content_type.split("boundary=")[1].encode()
    parts = request.body.split(b"--" + boundary)
    assert [part.split(b"\r\n\r\n")[1].strip() for part in parts[1:-1]] == [b"one", b"two"]
    assert b"X-Api-Key: k\r\n" in request.wire("h")
