"""A token bucket for each client; what counts as one client is decided elsewhere."""

import time
from collections.abc import Callable
from typing import Final

from serving.problems import Problem

MAX_CLIENTS: Final = 10_000  # rate buckets kept; the idlest go first


class RateLimiter:
    """A token bucket per client: `rate_rps` a second, and a burst of one second's worth."""

    def __init__(self, rate_rps: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate_rps = rate_rps
        self._burst = max(rate_rps, 1.0)
        self._clock = clock
        self._buckets: dict[bytes | str, tuple[float, float]] = {}  # tokens, as of

    def __len__(self) -> int:
        return len(self._buckets)

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
        if len(self._buckets) > MAX_CLIENTS:
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
