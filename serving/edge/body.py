"""A request's body: its type, its length and its bytes, within limits. Knows nothing of digits."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from serving.problems import Problem

MAX_ARRIVING_BYTES: Final = 128_000_000  # sixteen of the largest bulk bodies


def content_type(headers: Mapping[bytes, bytes], allowed: tuple[str, ...]) -> str:
    """The body's type without parameters.

    Raises:
        Problem: 415, it is none of those that the path reads, or compressed.
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
    """Refuse a body that announces itself as too large, before it is sent.

    Raises:
        Problem: 413, or 400 where the length is no number.
    """
    declared = headers.get(b"content-length")
    if declared is None:
        return
    if not declared.isdigit():
        raise Problem(400, "content-length is not a number", closes_connection=True)
    if len(declared) > len(str(limit_bytes)) or int(declared) > limit_bytes:
        raise too_large(declared.decode()[:20], limit_bytes)


def too_large(size: str, limit_bytes: int) -> Problem:
    """The problem of a body over the limit."""
    return Problem(
        413,
        f"the body has {size} bytes; this path takes at most {limit_bytes}. "
        "Send a smaller crop, or fewer of them",
        closes_connection=True,
    )


class Arriving:
    """Bounds the memory of all bodies that are under way, however many send how slowly."""

    def __init__(self, limit_bytes: int = MAX_ARRIVING_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._num_bytes = 0

    def add(self, num_bytes: int) -> None:
        """Count a part; a negative number gives it back.

        Raises:
            Problem: 503, all bodies together are too much.
        """
        self._num_bytes += num_bytes
        if num_bytes > 0 and self._num_bytes > self._limit_bytes:
            raise Problem(
                503,
                f"bodies under way hold {self._num_bytes} bytes; at most {self._limit_bytes} are "
                "kept; try again",
                retry_after_s=1.0,
                closes_connection=True,
            )


async def read_body(
    receive: Callable[[], Any], limit_bytes: int, arriving: Arriving | None = None
) -> bytes:
    """Read the body, counting while it streams, whatever its headers said.

    Args:
        receive: ASGI's.
        limit_bytes: of this body.
        arriving: of all bodies; None: this one is alone.

    Raises:
        Problem: 413, it grew over the limit; 503, all together did.
        Disconnected: the client has gone.
    """
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False) and len(body) <= limit_bytes:
        return body
    arriving = arriving or Arriving()
    parts, size = [body], len(body)
    try:
        arriving.add(size)
        while size <= limit_bytes:
            if not message.get("more_body", False):
                return b"".join(parts)
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            part = message.get("body", b"")
            parts.append(part)
            size += len(part)
            arriving.add(len(part))
    finally:
        arriving.add(-size)
    raise too_large(f"more than {limit_bytes}", limit_bytes)


class Disconnected(Exception):
    """The client has gone; there is nobody to answer."""
