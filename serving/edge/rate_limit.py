"""Limits the request rate of each sender by a token bucket."""

import time
from collections.abc import Callable, Hashable
from typing import Final

from serving.problems import Problem

MAX_SENDERS: Final = 10_000  # buckets kept
_OVERFLOW: Final = "more senders"  # the bucket that new senders share beyond them


class RateLimiter:
    """A token bucket for each sender: `rate_rps` tokens a second, at most one second's worth.

    A bucket that is full again is the same as none, so only such buckets are evicted: nobody gets
    new tokens by sending from many addresses. While MAX_SENDERS buckets are in use, new senders
    share one.

    Args:
        rate_rps: of one sender.
        clock: seconds, monotonic.
    """

    def __init__(self, rate_rps: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate_rps = rate_rps
        self._burst = max(rate_rps, 1.0)
        self._clock = clock
        self._buckets: dict[Hashable, tuple[float, float]] = {}  # (tokens, time of the count)

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, sender: Hashable) -> None:
        """Take one token.

        Raises:
            Problem: 429 with Retry-After and RateLimit headers; the bucket is empty.
        """
        now = self._clock()
        bucket = self._buckets.pop(sender, None)
        if bucket is None:
            if len(self._buckets) >= MAX_SENDERS and not self._evict(now):
                sender = _OVERFLOW
            bucket = self._buckets.pop(sender, (self._burst, now))
        tokens = self._refilled(bucket, now)
        # Reinsert last, so that the first in the dict is the least recently used.
        if tokens < 1.0:
            self._buckets[sender] = (tokens, now)
            raise self._refusal((1.0 - tokens) / self._rate_rps)
        self._buckets[sender] = (tokens - 1.0, now)

    def _refilled(self, bucket: tuple[float, float], now: float) -> float:
        tokens, since = bucket
        return min(tokens + (now - since) * self._rate_rps, self._burst)

    def _evict(self, now: float) -> bool:
        """Evict the least recently used bucket if it is full; whether it was."""
        oldest = next(iter(self._buckets))
        if self._refilled(self._buckets[oldest], now) < self._burst:
            return False
        del self._buckets[oldest]
        return True

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
