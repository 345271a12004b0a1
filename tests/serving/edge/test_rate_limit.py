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


def test_a_burst_of_one_seconds_worth_is_let_through():
    assert take_all(RateLimiter(5, Clock())) == 5


def test_a_rate_below_one_still_lets_one_through():
    assert take_all(RateLimiter(0.1, Clock())) == 1


def test_tokens_come_back_at_the_rate():
    clock = Clock()
    limiter = RateLimiter(10, clock)
    take_all(limiter)
    clock.now = 0.35
    assert take_all(limiter) == 3


def test_no_more_than_a_burst_is_saved_up():
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


def test_one_client_does_not_use_up_anothers_tokens():
    limiter = RateLimiter(5, Clock())
    take_all(limiter, "a")
    assert take_all(limiter, "b") == 5


def test_a_refusal_tells_the_rate_and_when_to_come_back():
    limiter = RateLimiter(4, Clock())
    take_all(limiter)
    with pytest.raises(Problem) as caught:
        limiter.take("a")
    assert caught.value.status == 429
    assert "4 requests a second" in caught.value.detail
    assert caught.value.retry_after_s == pytest.approx(0.25)
    assert dict(caught.value.headers)[b"ratelimit-policy"] == b'"key";q=4;w=1'


def test_buckets_of_many_clients_take_bounded_memory(monkeypatch):
    monkeypatch.setattr(rate_limit, "MAX_CLIENTS", 100)
    limiter = RateLimiter(5, Clock())
    for number in range(1000):
        limiter.take(str(number))
    assert len(limiter) == 100


def test_a_client_that_is_refused_is_not_forgotten_by_a_crowd_of_others(monkeypatch):
    """Else a second client could wipe the first one's debt."""
    monkeypatch.setattr(rate_limit, "MAX_CLIENTS", 10)
    limiter = RateLimiter(1, Clock())
    take_all(limiter, "greedy")
    for number in range(9):
        limiter.take(str(number))
    with pytest.raises(Problem):
        limiter.take("greedy")
