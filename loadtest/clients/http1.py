"""The part of HTTP/1.1 that the load generators need: requests as bytes, answers from a socket.

A general client (aiohttp, httpx) uses more processor time than the server under test, so its own
speed would be measured. This one parses only the status and the length.
"""

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_LENGTH: Final = b"content-length:"
_CHUNKED: Final = b"transfer-encoding: chunked"


class BrokenAnswer(ConnectionError):
    """The connection ended early, or the answer is not HTTP/1.1 that this client understands."""


@dataclass(frozen=True, slots=True)
class Request:
    """One POST."""

    path: str
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def wire(self, host: str) -> bytes:
        """The bytes of the request."""
        head = [f"POST {self.path} HTTP/1.1", f"Host: {host}"]
        head += [f"Content-Type: {self.content_type}", f"Content-Length: {len(self.body)}"]
        head += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*head, "", ""]).encode("ascii") + self.body


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer."""

    status: int
    body: bytes


def multipart(
    path: str,
    field_name: str,
    files: list[bytes],
    headers: Mapping[str, str],
    *,
    media_type: str = "image/png",
) -> Request:
    """A multipart form with all files under one field name."""
    boundary = uuid.uuid5(uuid.NAMESPACE_URL, field_name).hex
    parts = [
        b'--%s\r\nContent-Disposition: form-data; name="%s"; filename="%d.png"\r\n'
        b"Content-Type: %s\r\n\r\n%s\r\n"
        % (boundary.encode(), field_name.encode(), number, media_type.encode(), data)
        for number, data in enumerate(files)
    ]
    body = b"".join(parts) + b"--%s--\r\n" % boundary.encode()
    return Request(path, f"multipart/form-data; boundary={boundary}", body, headers)


def parse(data: bytes) -> Answer | None:
    """The answer in these bytes; None while it is incomplete.

    Raises:
        BrokenAnswer: not an HTTP/1.1 answer.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head, body = data[:end].lower() + b"\r\n", data[end + 4 :]
    try:
        status = int(head[9:12])
        at = head.find(_LENGTH)
        if at >= 0:
            length = int(head[at + len(_LENGTH) : head.index(b"\r\n", at)])
            return Answer(status, body) if len(body) >= length else None
        if _CHUNKED in head:
            joined = _join_chunks(body)
            return None if joined is None else Answer(status, joined)
    except ValueError as error:
        raise BrokenAnswer(str(error)) from error
    raise BrokenAnswer("the answer has neither Content-Length nor chunks")


def _join_chunks(data: bytes) -> bytes | None:
    chunks: list[bytes] = []
    while True:
        line, found, rest = data.partition(b"\r\n")
        if not found:
            return None
        size = int(line.split(b";")[0], 16)
        if len(rest) < size + 2:
            return None
        if not size:
            return b"".join(chunks)
        chunks.append(rest[:size])
        data = rest[size + 2 :]


class Connection:
    """One keep-alive connection; sends one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, host: str, port: int) -> "Connection":
        """Connect.

        Raises:
            OSError: no server listens there.
        """
        return cls(*await asyncio.open_connection(host, port))

    async def send(self, wire: bytes) -> Answer:
        """Send one request and read its answer.

        Raises:
            BrokenAnswer: the connection ended early or the answer is not HTTP/1.1.
        """
        data = b""
        try:
            self._writer.write(wire)
            while (answer := parse(data)) is None:
                more = await self._reader.read(65_536)
                if not more:
                    raise BrokenAnswer("the connection ended before the answer was complete")
                data += more
        except OSError as error:
            raise BrokenAnswer(str(error)) from error
        return answer

    async def get(self, path: str) -> Answer:
        """Get a page.

        Raises:
            BrokenAnswer: as `send`.
        """
        return await self.send(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())

    def close(self) -> None:
        """Close without waiting."""
        self._writer.close()
