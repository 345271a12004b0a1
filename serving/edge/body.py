"""Checks a body's type and length and reads it, within limits. Knows nothing of digits."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from serving.edge.in_flight import Exchange
from serving.problems import Problem
from serving.shares import SharedPool

MAX_BODY_MEMORY_BYTES: Final = 128_000_000  # of all senders: 16 of the largest bulk bodies
MAX_UNCOUNTED_BYTES: Final = 65_536  # a body that arrives in one piece has no more


def content_type(headers: Mapping[bytes, bytes], allowed: tuple[str, ...]) -> str:
    """The body's media type without parameters.

    Raises:
        Problem: 415, the path does not read this type, or the body is compressed.
    """
    kind = _kind(headers.get(b"content-type", b""))
    if kind not in allowed:
        raise Problem(
            415,
            f"content-type is {kind[:60]!r}; this path reads {', '.join(filter(None, allowed))}",
            closes_connection=True,
        )
    encoding = headers.get(b"content-encoding", b"identity")
    if encoding.lower() != b"identity":
        raise Problem(
            415,
            f"content-encoding is {encoding[:60].decode('latin-1')!r}; send the body uncompressed",
            closes_connection=True,
        )
    return kind


@lru_cache(maxsize=64)
def _kind(declared: bytes) -> str:
    return declared.decode("latin-1").partition(";")[0].strip().lower()


def check_length(headers: Mapping[bytes, bytes], limit_bytes: int) -> None:
    """Refuse a body by its content-length, before it is sent.

    Raises:
        Problem: 413, or 400 if the length is not a number.
    """
    declared = headers.get(b"content-length")
    if declared is None:
        return
    if not declared.isdigit():
        raise Problem(400, "content-length is not a number", closes_connection=True)
    if len(declared) > len(str(limit_bytes)) or int(declared) > limit_bytes:
        raise too_large(declared.decode()[:20], limit_bytes)


def too_large(size: str, limit_bytes: int) -> Problem:
    """The problem for a body over the limit."""
    return Problem(
        413,
        f"the body has {size} bytes; this path takes at most {limit_bytes}. "
        "Send a smaller crop, or fewer of them",
        closes_connection=True,
    )


class BodyMemory:
    """Limits the memory of all bodies, from their arrival until their answer is handed over.

    A body that arrives in one piece is not counted: it has at most 64 KB, and the number of
    requests is limited.

    Args:
        limit_bytes: of all bodies; one sender may hold as many bytes as it leaves free.
    """

    def __init__(self, limit_bytes: int = MAX_BODY_MEMORY_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._held = SharedPool(limit_bytes)

    def hold(self, exchange: Exchange, num_bytes: int) -> None:
        """Count a part of a request's body.

        Raises:
            Problem: 503, the sender's share is used up.
        """
        if not self._held.take(exchange.sender, num_bytes):
            raise self._refusal(exchange)
        exchange.num_body_bytes += num_bytes

    def check_room(self, exchange: Exchange, headers: Mapping[bytes, bytes]) -> None:
        """Refuse a body that has no room by its content-length: most of it need not be read.

        Raises:
            Problem: 503, as above.
        """
        num_bytes = int(headers.get(b"content-length", b"0"))
        if num_bytes > MAX_UNCOUNTED_BYTES and not self._held.has_room(exchange.sender, num_bytes):
            raise self._refusal(exchange)

    def release(self, exchange: Exchange) -> None:
        """Give back what a request's body held."""
        if exchange.num_body_bytes:
            self._held.give_back(exchange.sender, exchange.num_body_bytes)
            exchange.num_body_bytes = 0

    def _refusal(self, exchange: Exchange) -> Problem:
        return Problem(
            503,
            f"your bodies hold {self._held.held_by(exchange.sender):.0f} bytes, and those of "
            f"all senders {self._held.total:.0f}; the limit is {self._limit_bytes}, and one "
            "sender may hold as many as it leaves free; send fewer or smaller ones at once",
            retry_after_s=1.0,
            closes_connection=True,
        )


async def read_body(
    receive: Callable[[], Any], limit_bytes: int, hold: Callable[[int], None]
) -> bytes:
    """Read the body and count its bytes while it streams, whatever content-length says.

    Args:
        receive: ASGI's.
        limit_bytes: for this body.
        hold: called with the size of each part of a body that comes in several; it may raise.

    Raises:
        Problem: 413, this body is over the limit; 503, its sender's share is used up.
        Disconnected: the client has disconnected.
    """
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False) and len(body) <= limit_bytes:
        return body
    parts, size = [body], len(body)
    hold(size)
    while size <= limit_bytes:
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        part = message.get("body", b"")
        parts.append(part)
        size += len(part)
        hold(len(part))
    raise too_large(f"more than {limit_bytes}", limit_bytes)


class Disconnected(Exception):
    """The client has disconnected, so no answer is sent."""
