"""Refuses before any work: key, scope, rate, type and size. Knows nothing of digits."""

import ipaddress
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Final, NamedTuple

from serving.config import Settings
from serving.edge.key_ring import ANONYMOUS, Key, KeyRing
from serving.messages import Scope
from serving.problems import Problem

_BEARER: Final = b"bearer "
MAX_ARRIVING_BYTES: Final = 128_000_000  # sixteen of the largest bulk bodies
_MAX_CLIENTS: Final = 10_000  # rate buckets kept; the idlest go first


class Client(NamedTuple):
    """Who is asking: the site whose key was shown, and what its rate is counted under."""

    site: str
    bucket: bytes | str


class RateLimiter:
    """A token bucket per client: `rate_rps` a second, and a burst of one second's worth."""

    def __init__(self, rate_rps: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate_rps = rate_rps
        self._burst = max(rate_rps, 1.0)
        self._clock = clock
        self._buckets: dict[bytes | str, tuple[float, float]] = {}  # tokens, as of

    def take(self, bucket: bytes | str) -> None:
        """Count one request.

        Raises:
            Problem: 429 with Retry-After and RateLimit headers; nothing is left.
        """
        now = self._clock()
        tokens, since = self._buckets.pop(bucket, (self._burst, now))
        tokens = min(tokens + (now - since) * self._rate_rps, self._burst)
        if tokens < 1.0:
            self._buckets[bucket] = (tokens, now)
            raise self._refusal((1.0 - tokens) / self._rate_rps)
        # Put back last, so that the first in the dict is always the idlest.
        self._buckets[bucket] = (tokens - 1.0, now)
        if len(self._buckets) > _MAX_CLIENTS:
            del self._buckets[next(iter(self._buckets))]

    def _refusal(self, wait_s: float) -> Problem:
        limit = f"{self._burst:g}"
        return Problem(
            429,
            f"this key may make {self._rate_rps:g} requests a second; "
            f"wait {wait_s:.3f} s and spread requests out",
            retry_after_s=wait_s,
            headers=(
                (b"ratelimit-policy", f'"key";q={limit};w=1'.encode()),
                (b"ratelimit", b'"key";r=0;t=1'),
            ),
        )


class KeyGuard:
    """Lets in who shows a live key of the right scope; everybody where keys are off."""

    def __init__(self, keys: KeyRing | None, clock: Callable[[], float] = time.time) -> None:
        self.keys = keys
        self._clock = clock

    def admit(
        self, headers: Mapping[bytes, bytes], scope: Scope, peer: tuple[str, int] | None
    ) -> Client:
        """Tell who is asking.

        Raises:
            Problem: 401 without a live key, 403 without the scope.
        """
        if self.keys is None:
            return Client(ANONYMOUS, peer[0] if peer else "")
        key = self._find(headers)
        if key is None:
            raise Problem(
                401,
                "send a live key as 'Authorization: Bearer KEY' or 'X-Api-Key: KEY'; "
                "python -m serving.keys makes one",
                closes_connection=True,
                headers=((b"www-authenticate", b"Bearer"),),
            )
        if scope not in key.scopes:
            raise Problem(
                403,
                f"the key of {key.site} has the scopes {', '.join(sorted(key.scopes))}; "
                f"this path needs {scope}",
                closes_connection=True,
            )
        return Client(key.site, key.sha256)

    def _find(self, headers: Mapping[bytes, bytes]) -> Key | None:
        """The first live key among those shown: a gateway may add a header of its own."""
        key = self._live(headers.get(b"x-api-key"))
        if key is None:
            authorization = headers.get(b"authorization", b"")
            if authorization[: len(_BEARER)].lower() == _BEARER:
                key = self._live(authorization[len(_BEARER) :].strip())
        return key

    def _live(self, presented: bytes | None) -> Key | None:
        assert self.keys is not None
        key = None if presented is None else self.keys.find(presented)
        return key if key is not None and key.is_live(self._clock()) else None


def needs_keys(settings: Settings, bound_host: str) -> bool:
    """Whether requests need a key: on a loopback address they do not, unless asked for."""
    if settings.auth != "auto":
        return settings.auth == "on"
    try:
        return not ipaddress.ip_address(bound_host).is_loopback
    except ValueError:
        return bound_host != "localhost"


@lru_cache(maxsize=64)
def is_exposed(local_address: str) -> bool:
    """Whether a request that came in on this address of ours may be another machine's.

    `bentoml serve --host 0.0.0.0` tells the service nothing of the address it is bound to.
    """
    try:
        return not ip_address(local_address).is_loopback
    except ValueError:
        return False  # a path: a Unix socket


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
