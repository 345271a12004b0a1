"""A proxy between a client and the service that does one fault to requests, and counts them.

Understands HTTP/1.1 with Content-Length, which is what the clients under test send.
"""

import asyncio
import contextlib
import random
import socket
import ssl
import struct
from collections import Counter
from typing import Final

from loadtest.faults.fault_kinds import Action, Fault

MAX_HEAD: Final = 65_536
_LINGER_NOT: Final = struct.pack("ii", 1, 0)  # close with RST
_BODY: Final = b'{"type":"about:blank","title":"storm","status":503,"detail":"a storm"}'
_UNAVAILABLE: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n" % len(_BODY)
) + _BODY

Message = tuple[bytes, bytes]  # head with its empty line, body


class FaultProxy:
    """Forwards to a port of this machine.

    Args:
        upstream: the service's port.
        fault: what to do; may be exchanged while it runs.
        seed: of which requests meet the fault.
        tls: the proxy's side towards the client, with its certificate; None: plain HTTP.
    """

    def __init__(
        self, upstream: int, fault: Fault, *, seed: int = 1, tls: ssl.SSLContext | None = None
    ) -> None:
        self.fault = fault
        self.seen: Counter[str] = Counter()  # "requests", and "retry" and "hedge" among them
        self.met: Counter[str] = Counter()  # action -> requests
        self._upstream = upstream
        self._tls = tls
        self._random = random.Random(seed)  # noqa: S311  no secret
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen; returns the port."""
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", 0, limit=MAX_HEAD, ssl=self._tls
        )
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Close every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connection(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            while True:
                request = await read_message(reader)
                self._count(request)
                if upstream is None:
                    upstream = await asyncio.open_connection("127.0.0.1", self._upstream)
                action = self._choose()
                if not await self._do(action, request, reader, writer, upstream):
                    return
        except (OSError, asyncio.IncompleteReadError):
            return  # either side has gone
        finally:
            writer.close()
            if upstream is not None:
                upstream[1].close()

    def _choose(self) -> Action | None:
        fault = self.fault
        if not fault.actions or not fault.is_on() or self._random.random() >= fault.share:
            return None
        action = self._random.choice(fault.actions)
        self.met[action] += 1
        return action

    async def _do(
        self,
        action: Action | None,
        request: Message,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> bool:
        """Do it; whether the connection goes on."""
        if action == "unavailable":
            writer.write(_UNAVAILABLE)
            await writer.drain()
            return True
        if action == "swallow":
            await reader.read()  # until the client closes
            return False
        if action == "reset":
            reset(writer)
            return False
        if action == "delay":
            await asyncio.sleep(self.fault.delay_s)
        upstream[1].write(b"".join(request))
        head, body = await read_message(upstream[0])
        if action == "cut":
            reset(writer)
            return False
        if action in ("half", "stall"):
            writer.write(head + body[: len(body) // 2])
            await writer.drain()
            if action == "stall":
                await reader.read()
            return False
        writer.write(head + body)
        await writer.drain()
        return True

    def _count(self, request: Message) -> None:
        self.seen["requests"] += 1
        kind = header(request[0], b"x-attempt")
        if kind is not None:
            self.seen[kind.decode()] += 1


async def read_message(reader: asyncio.StreamReader) -> Message:
    """One request or answer.

    Raises:
        IncompleteReadError, OSError: the connection ended.
    """
    head = await reader.readuntil(b"\r\n\r\n")
    length = header(head, b"content-length")
    return head, await reader.readexactly(0 if length is None else int(length))


def header(head: bytes, name: bytes) -> bytes | None:
    """The value of a header; `name` in lower case."""
    for line in head.split(b"\r\n")[1:]:
        own, _, value = line.partition(b":")
        if own.lower() == name:
            return value.strip()
    return None


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST."""
    own = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        if own is not None:  # of TLS: the client has closed meanwhile
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    writer.transport.abort()
