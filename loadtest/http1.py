"""HTTP/1.1 as far as the load generators need it: requests as bytes, answers off a socket.

A general client (aiohttp, httpx) costs more than the server under test and would be what is
measured; this one parses a status line, a length and nothing else.
"""

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_LENGTH: Final = b"content-length:"
_CHUNKED: Final = b"transfer-encoding: chunked"


class BrokenAnswer(ConnectionError):
    """The connection ended, or what came back is not an HTTP answer this client understands."""


@dataclass(frozen=True, slots=True)
class Request:
    """One POST."""

    path: str
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def wire(self, host: str) -> bytes:
        """The request as it goes over the connection."""
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
    """A form that carries the files under one field name."""
    boundary = uuid.uuid5(uuid.NAMESPACE_URL, field_name).hex
    parts = [
        b'--%s\r\nContent-Disposition: form-data; name="%s"; filename="%d.png"\r\n'
        b"Content-Type: %s\r\n\r\n%s\r\n"
        % (boundary.encode(), field_name.encode(), number, media_type.encode(), data)
        for number, data in enumerate(files)
    ]
    body = b"".join(parts) + b"--%s--\r\n" % boundary.encode()
    return Request(path, f"multipart/form-data; boundary={boundary}", body, headers)


class Connection:
    """One keep-alive connection; one request on it at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, host: str, port: int) -> "Connection":
        """Connect.

        Raises:
            OSError: nobody listens.
        """
        return cls(*await asyncio.open_connection(host, port))

    async def send(self, wire: bytes) -> Answer:
        """Send one request and read its answer.

        Raises:
            BrokenAnswer: the connection ended early or the answer is not HTTP/1.1.
        """
        try:
            self._writer.write(wire)
            head = await self._reader.readuntil(b"\r\n\r\n")
            status = int(head[9:12])
            return Answer(status, await self._body(head.lower()))
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            raise BrokenAnswer(str(error) or type(error).__name__) from error

    async def get(self, path: str) -> Answer:
        """Get a page.

        Raises:
            BrokenAnswer: as `send`.
        """
        return await self.send(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())

    async def _body(self, head: bytes) -> bytes:
        at = head.find(_LENGTH)
        if at >= 0:
            length = int(head[at + len(_LENGTH) : head.index(b"\r\n", at)])
            return await self._reader.readexactly(length)
        if _CHUNKED not in head:
            raise ValueError("an answer without a length")
        chunks = []
        while size := int((await self._reader.readline()).split(b";")[0], 16):
            chunks.append(await self._reader.readexactly(size))
            await self._reader.readline()
        await self._reader.readline()
        return b"".join(chunks)

    def close(self) -> None:
        """Close without waiting."""
        self._writer.close()
