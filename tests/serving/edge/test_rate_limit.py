import pytest

from serving.edge import rate_limit
from serving.edge.rate_limit import RateLimiter
from serving.problems import Problem


class Clock:
    def __init__(self, now=0.0):
        self.now = now

    def __call__(self):
        return self.now


def take_all(limiter, bucket="a"):
    taken = 0
    while True:
        try:
            limiter.take(bucket)
        except Problem:
            return taken
        taken += 1


def test_a_burst_of_one_seconds_worth_is_allowed():
    assert take_all(RateLimiter(5, Clock())) == 5


def test_a_rate_below_one_allows_one_request():
    assert take_all(RateLimiter(0.1, Clock())) == 1


def test_tokens_refill_at_the_rate():
    clock = Clock()
    limiter = RateLimiter(10, clock)
    take_all(limiter)
    clock.now = 0.35
    assert take_all(limiter) == 3


def test_a_bucket_holds_one_burst_at_most():
    clock = Clock()
    limiter = RateLimiter(10, clock)
    take_all(limiter)
    clock.now = 3600.0
    assert take_all(limiter) == 10


def test_refused_requests_cost_no_tokens():
    clock = Clock()
    limiter = RateLimiter(1, clock)
    take_all(limiter)
    for tenth in range(1, 10):
        clock.now = tenth / 10
        with pytest.raises(Problem):
            limiter.take("a")
    clock.now = 1.001
    limiter.take("a")


def test_each_client_has_its_own_tokens():
    limiter = RateLimiter(5, Clock())
    take_all(limiter, "a")
    assert take_all(limiter, "b") == 5


def test_a_refusal_gives_the_rate_and_the_wait():
    limiter = RateLimiter(4, Clock())
    take_all(limiter)
    with pytest.raises(Problem) as caught:
        limiter.take("a")
    assert caught.value.status == 429
    assert "4 requests a second" in caught.value.detail
    assert caught.value.retry_after_s == pytest.approx(0.25)
    assert dict(caught.value.headers)[b"ratelimit-policy"] == b'"key";q=4;w=1'


def test_the_number_of_buckets_is_bounded(monkeypatch):
    monkeypatch.setattr(rate_limit, "MAX_SENDERS", 100)
    clock = Clock()
    limiter = RateLimiter(5, clock)
    for number in range(1000):
        clock.now = number / 10
        limiter.take(str(number))
    assert len(limiter) == 100


def test_other_senders_do_not_reset_an_empty_bucket(monkeypatch):
    monkeypatch.setattr(rate_limit, "MAX_SENDERS", 10)
    limiter = RateLimiter(1000, Clock())
    take_all(limiter, "greedy")
    for number in range(500):
        limiter.take(str(number))
    with pytest.raises(Problem):
        limiter.take("greedy")


def test_senders_beyond_the_buckets_share_one(monkeypatch):
    """A sender with many addresses gets one more share by them, not one for each."""
    monkeypatch.setattr(rate_limit, "MAX_SENDERS", 10)
    clock = Clock()
    limiter = RateLimiter(5, clock)
    for number in range(10):
        limiter.take(str(number))
    assert sum(take_all(limiter, f"spoofed {number}") for number in range(1000)) == 5
    assert len(limiter) == 11
    clock.now = 0.2  # the first buckets are full again: they are evicted for new senders
    limiter.take("new")
    assert take_all(limiter, "new") == 4
