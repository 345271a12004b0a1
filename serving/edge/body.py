"""Checks a body's type and length and reads it, within limits. Knows nothing of digits."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from serving.problems import Problem

MAX_BODY_MEMORY_BYTES: Final = 128_000_000  # all bodies together: 16 of the largest bulk bodies


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
    """Limits the memory of all bodies being received, however many clients send slowly."""

    def __init__(self, limit_bytes: int = MAX_BODY_MEMORY_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._num_bytes = 0

    def add(self, num_bytes: int) -> None:
        """Count a part; a negative number releases it.

        Raises:
            Problem: 503, all bodies together are over the limit.
        """
        self._num_bytes += num_bytes
        if num_bytes > 0 and self._num_bytes > self._limit_bytes:
            raise Problem(
                503,
                f"the bodies being received hold {self._num_bytes} bytes; the limit for all of "
                f"them is {self._limit_bytes}; try again",
                retry_after_s=1.0,
                closes_connection=True,
            )


async def read_body(
    receive: Callable[[], Any], limit_bytes: int, body_memory: BodyMemory | None = None
) -> bytes:
    """Read the body and count its bytes while it streams, whatever content-length says.

    Args:
        receive: ASGI's.
        limit_bytes: for this body.
        body_memory: limits all bodies together; None: only this one.

    Raises:
        Problem: 413, this body is over the limit; 503, all bodies together are.
        Disconnected: the client has disconnected.
    """
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False) and len(body) <= limit_bytes:
        return body
    body_memory = body_memory or BodyMemory()
    parts, size = [body], len(body)
    try:
        body_memory.add(size)
        while size <= limit_bytes:
            if not message.get("more_body", False):
                return b"".join(parts)
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            part = message.get("body", b"")
            parts.append(part)
            size += len(part)
            body_memory.add(len(part))
    finally:
        body_memory.add(-size)
    raise too_large(f"more than {limit_bytes}", limit_bytes)


class Disconnected(Exception):
    """The client has disconnected, so no answer is sent."""
