"""Limits the request rate of each client by a token bucket."""

import time
from collections.abc import Callable
from typing import Final

from serving.problems import Problem

MAX_CLIENTS: Final = 10_000  # buckets kept; the least recently used is evicted first


class RateLimiter:
    """A token bucket for each client: `rate_rps` tokens a second, at most one second's worth."""

    def __init__(self, rate_rps: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate_rps = rate_rps
        self._burst = max(rate_rps, 1.0)
        self._clock = clock
        self._buckets: dict[bytes | str, tuple[float, float]] = {}  # (tokens, time of the count)

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, bucket: bytes | str) -> None:
        """Take one token.

        Raises:
            Problem: 429 with Retry-After and RateLimit headers; the bucket is empty.
        """
        now = self._clock()
        tokens, since = self._buckets.pop(bucket, (self._burst, now))
        tokens = min(tokens + (now - since) * self._rate_rps, self._burst)
        if tokens < 1.0:
            self._buckets[bucket] = (tokens, now)
            raise self._refusal((1.0 - tokens) / self._rate_rps)
        # Reinsert last, so that the first in the dict is the least recently used.
        self._buckets[bucket] = (tokens - 1.0, now)
        if len(self._buckets) > MAX_CLIENTS:
            del self._buckets[next(iter(self._buckets))]

    def _refusal(self, wait_s: float) -> Problem:
        limit = f"{self._burst:g}"
        return Problem(
            429,
            f"this key may send {self._rate_rps:g} requests a second; "
            f"wait {wait_s:.3f} s and send at a steady rate",
            retry_after_s=wait_s,
            headers=(
                (b"ratelimit-policy", f'"key";q={limit};w=1'.encode()),
                (b"ratelimit", b'"key";r=0;t=1'),
            ),
        )
