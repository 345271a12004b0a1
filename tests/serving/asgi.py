"""A client that speaks ASGI to an application in this process, message by message."""

import asyncio
import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Calls one application from one peer address."""

    def __init__(self, app, peer=("127.0.0.1", 40_000)):
        self.app = app
        self.peer = peer

    async def get(self, path, **headers):
        return await self.call("GET", path, headers)

    async def post(self, path, body, content_type="image/png", **headers):
        return await self.call("POST", path, {"content-type": content_type, **headers}, body)

    async def call(self, method, path, headers=None, body=b"", *, receive=None):
        """One request and its answer; None if there is none. `receive` replaces `body`."""
        sent = []

        async def send(message):
            sent.append(message)

        await self.app(scope(method, path, headers or {}, self.peer), receive or given(body), send)
        if not sent:
            return None
        start, *bodies = sent
        return Reply(
            status=start["status"],
            headers={name.decode(): value.decode() for name, value in start["headers"]},
            body=b"".join(message.get("body", b"") for message in bodies),
        )


def scope(method, path, headers, peer):
    path, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [
            (name.replace("_", "-").lower().encode(), value.encode("latin-1"))
            for name, value in headers.items()
        ],
        "client": peer,
        "server": ("127.0.0.1", 3000),
    }


def given(body, *, then_gone=False):
    """A `receive` that returns the body at once; then the client waits, or disconnects."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        if messages:
            return messages.pop()
        if then_gone:
            return {"type": "http.disconnect"}
        await asyncio.Event().wait()
        return None

    return receive


def form(*files, field="crop"):
    """(content type, body) of a multipart request with one part per file."""
    parts = [
        f'--frontier\r\nContent-Disposition: form-data; name="{field}"; filename="{number}.png"\r\n'
        "Content-Type: image/png\r\n\r\n".encode()
        + data
        + b"\r\n"
        for number, data in enumerate(files)
    ]
    return "multipart/form-data; boundary=frontier", b"".join(parts) + b"--frontier--\r\n"


def npy(array):
    """The .npy bytes of an array."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()
