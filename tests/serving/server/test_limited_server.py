"""Pages behind the connections of the service: what a sender holds open ends."""

import contextlib
import socket
import threading
import time

import pytest
from own_server import free_port
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from serving.server import connections
from serving.server.limited_server import limited_server

HALF_HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-More: "


@pytest.fixture
def port(monkeypatch):
    monkeypatch.setattr(connections, "REST_DEADLINE_S", 0.5)
    app = Starlette(routes=[Route("/", lambda _request: PlainTextResponse("page"))])
    free = free_port()
    server = limited_server(app, host="127.0.0.1", port=free)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield free
    server.should_exit = True
    thread.join(20)


def send(port, data):
    connection = socket.create_connection(("127.0.0.1", port), 20)
    connection.settimeout(20)
    connection.sendall(data)
    return connection


def test_a_page_is_answered(port):
    with send(port, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") as connection:
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_request_that_never_ends_is_closed(port):
    with send(port, HALF_HEAD) as connection, contextlib.suppress(ConnectionResetError):
        assert connection.recv(100) == b""
