"""A server of raw bytes: what a broken proxy, a captive portal or an attacker may answer."""

import contextlib
import json
import socket
import threading
from email.message import Message
from email.parser import BytesHeaderParser

READ_ID = "0197f2a4-6f0e-7c31-9a5e-3d1f1c2b4a59"


class HostileServer:
    """Calls `answer(connection, request)` for each request; requests are kept.

    After `answer` returns None, the connection is kept; after anything else it is closed.
    """

    def __init__(self, answer):
        self.answer = answer
        self.requests = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._connections = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listener.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with contextlib.suppress(OSError, ValueError), connection:
            while (request := read_request(connection)) is not None:
                self.requests.append(request)
                if self.answer(connection, request) is not None:
                    return


def read_request(connection) -> Message | None:
    """Headers of a request as a message; `path` and `body` beside them."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65_536)
        if not part:
            return None
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    line, _, fields = head.partition(b"\r\n")
    request = BytesHeaderParser().parsebytes(fields + b"\r\n\r\n")
    while len(body) < int(request.get("content-length", 0)):
        part = connection.recv(65_536)
        if not part:
            return None
        body += part
    request.path, request.body = line.split()[1].decode(), body
    return request


def message(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """An answer with its length."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def good_body(request, **changes) -> bytes:
    """What the service says of a 7."""
    answer = {
        "request_id": request["x-request-id"], "read_id": READ_ID, "digit": 7, "confidence": 0.99,
        "accepted": True, "candidates": [{"digit": 7, "probability": 0.99}], "model_version": "5",
    }  # fmt: skip
    return json.dumps(answer | changes).encode()
