import hashlib

import pytest

from serving.config import Settings
from serving.edge import guard
from serving.edge.guard import (
    Disconnected,
    KeyGuard,
    RateLimiter,
    check_length,
    content_type,
    needs_keys,
    read_body,
)
from serving.edge.key_ring import Key, KeyRing
from serving.problems import Problem

NOW_S = 1_800_000_000.0
PEER = ("192.0.2.7", 5000)


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
    monkeypatch.setattr(guard, "_MAX_CLIENTS", 100)
    limiter = RateLimiter(5, Clock())
    for number in range(1000):
        limiter.take(str(number))
    assert len(limiter._buckets) == 100


def test_a_client_that_is_refused_is_not_forgotten_by_a_crowd_of_others(monkeypatch):
    """Else a second client could wipe the first one's debt."""
    monkeypatch.setattr(guard, "_MAX_CLIENTS", 10)
    limiter = RateLimiter(1, Clock())
    take_all(limiter, "greedy")
    for number in range(9):
        limiter.take(str(number))
    with pytest.raises(Problem):
        limiter.take("greedy")


def ring(*keys):
    return KeyRing(list(keys), NOW_S)


def entry(text=b"secret", *, site="berlin", scopes=("predict",), expires_s=None):
    return Key(site, hashlib.sha256(text).digest(), frozenset(scopes), expires_s)


def admit(keys, headers, scope="predict"):
    return KeyGuard(keys, Clock(NOW_S)).admit(headers, scope, PEER)


def test_where_keys_are_off_everybody_is_let_in_and_counted_by_address():
    client = KeyGuard(None).admit({}, "admin", PEER)
    assert (client.site, client.bucket) == ("local", "192.0.2.7")


@pytest.mark.parametrize(
    "headers",
    [
        {b"authorization": b"Bearer secret"},
        {b"authorization": b"bearer secret"},
        {b"authorization": b"BEARER  secret "},
        {b"x-api-key": b"secret"},
        {b"x-api-key": b"a gateway's own", b"authorization": b"Bearer secret"},
        {b"x-api-key": b"secret", b"authorization": b"Bearer another's"},
    ],
)
def test_a_right_key_is_let_in_as_its_site(headers):
    assert admit(ring(entry()), headers).site == "berlin"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"authorization": b""},
        {b"authorization": b"secret"},
        {b"authorization": b"Basic secret"},
        {b"authorization": b"Bearer"},
        {b"authorization": b"Bearer wrong"},
        {b"authorization": b"Bearer secretx"},
        {b"x-api-key": b""},
        {b"x-api-key": b"Bearer secret"},
        {b"x-api-key": b"wrong", b"authorization": b"Bearer wrong, too"},
        {b"x-api-key": hashlib.sha256(b"secret").hexdigest().encode()},
        {b"x-api-key": hashlib.sha256(b"secret").digest()},
    ],
)
def test_anything_else_is_401_and_asks_for_a_bearer(headers):
    with pytest.raises(Problem) as caught:
        admit(ring(entry()), headers)
    assert caught.value.status == 401
    assert (b"www-authenticate", b"Bearer") in caught.value.headers


@pytest.mark.parametrize(("expires_s", "is_let_in"), [(NOW_S + 1, True), (NOW_S, False)])
def test_a_key_is_good_until_it_expires(expires_s, is_let_in):
    keys = ring(entry(expires_s=expires_s))
    if is_let_in:
        assert admit(keys, {b"x-api-key": b"secret"}).site == "berlin"
    else:
        with pytest.raises(Problem):
            admit(keys, {b"x-api-key": b"secret"})


def test_a_key_that_expires_while_the_service_runs_is_refused_from_then_on():
    clock = Clock(NOW_S)
    key_guard = KeyGuard(ring(entry(expires_s=NOW_S + 60)), clock)
    key_guard.admit({b"x-api-key": b"secret"}, "predict", PEER)
    clock.now += 60
    with pytest.raises(Problem):
        key_guard.admit({b"x-api-key": b"secret"}, "predict", PEER)


def test_a_key_without_the_scope_is_403_and_tells_which_it_needs():
    with pytest.raises(Problem, match=r"berlin.*predict.*needs admin") as caught:
        admit(ring(entry()), {b"x-api-key": b"secret"}, "admin")
    assert caught.value.status == 403


def test_no_refusal_repeats_the_key():
    with pytest.raises(Problem) as caught:
        admit(ring(entry()), {b"x-api-key": b"hunter2-guess"})
    assert "hunter2" not in caught.value.detail


@pytest.mark.parametrize(
    ("auth", "host", "needed"),
    [
        ("auto", "127.0.0.1", False),
        ("auto", "127.9.9.9", False),
        ("auto", "::1", False),
        ("auto", "localhost", False),
        ("auto", "0.0.0.0", True),
        ("auto", "::", True),
        ("auto", "10.0.0.5", True),
        ("auto", "127.example.com", True),
        ("on", "127.0.0.1", True),
        ("off", "0.0.0.0", False),
    ],
)
def test_keys_are_needed_unless_only_this_machine_can_ask(auth, host, needed):
    assert needs_keys(Settings(auth=auth), host) is needed


ALLOWED = ("image/png", "multipart/form-data")


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        (b"image/png", "image/png"),
        (b"IMAGE/PNG", "image/png"),
        (b" image/png ; q=1", "image/png"),
        (b"multipart/form-data; boundary=x", "multipart/form-data"),
    ],
)
def test_a_type_is_read_without_its_parameters(declared, kind):
    assert content_type({b"content-type": declared}, ALLOWED) == kind


@pytest.mark.parametrize(
    "declared", [b"", b"image/gif", b"image", b"*/*", b"image/png,image/png", b"\xff\xfe"]
)
def test_another_type_is_415_and_tells_which_are_read(declared):
    with pytest.raises(Problem, match=r"image/png, multipart/form-data") as caught:
        content_type({b"content-type": declared}, ALLOWED)
    assert caught.value.status == 415


def test_no_type_is_415():
    with pytest.raises(Problem):
        content_type({}, ALLOWED)


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"identity, gzip", b"GZIP"])
def test_a_compressed_body_is_415(encoding):
    with pytest.raises(Problem, match="uncompressed"):
        content_type({b"content-type": b"image/png", b"content-encoding": encoding}, ALLOWED)


@pytest.mark.parametrize("declared", [b"0", b"100", b"00100"[2:]])
def test_a_length_up_to_the_limit_is_let_through(declared):
    check_length({b"content-length": declared}, 100)


@pytest.mark.parametrize(
    ("declared", "status"),
    [
        (b"101", 413),
        (b"9" * 5000, 413),
        (b"-1", 400),
        (b"1e2", 400),
        (b"", 400),
        (b"0x10", 400),
        (b"1 ", 400),
        ("\u00b2".encode("latin-1"), 400),
    ],
)
def test_a_length_over_the_limit_or_no_number_is_refused(declared, status):
    with pytest.raises(Problem) as caught:
        check_length({b"content-length": declared}, 100)
    assert caught.value.status == status


def test_413_tells_size_limit_and_remedy():
    with pytest.raises(Problem, match=r"101 bytes.*at most 100.*smaller"):
        check_length({b"content-length": b"101"}, 100)


def receiving(*parts, then_disconnect=False):
    messages = [
        {"type": "http.request", "body": part, "more_body": number < len(parts)}
        for number, part in enumerate(parts, start=1)
    ]
    if then_disconnect:
        messages[-1]["more_body"] = True
        messages.append({"type": "http.disconnect"})
    pending = iter(messages)

    async def receive():
        return next(pending)

    receive.pending = pending
    return receive


@pytest.mark.parametrize(
    "parts", [(b"",), (b"hello",), (b"he", b"llo"), (b"", b"hello", b""), (b"x" * 10,)]
)
async def test_a_body_is_put_together_from_its_parts(parts):
    assert await read_body(receiving(*parts), 10) == b"".join(parts)


async def test_a_message_without_a_body_is_an_empty_part():
    async def receive():
        return {"type": "http.request"}

    assert await read_body(receive, 10) == b""


@pytest.mark.parametrize("parts", [(b"x" * 11,), (b"x" * 6, b"x" * 6), (b"x",) * 11])
async def test_a_body_over_the_limit_is_413(parts):
    with pytest.raises(Problem) as caught:
        await read_body(receiving(*parts), 10)
    assert caught.value.status == 413


async def test_reading_stops_as_soon_as_the_limit_is_passed():
    receive = receiving(b"x" * 6, b"x" * 6, b"x" * 6, b"x" * 6)
    with pytest.raises(Problem):
        await read_body(receive, 10)
    assert len(list(receive.pending)) == 2


@pytest.mark.parametrize("parts", [(b"",), (b"abc",), (b"a", b"b", b"c")])
async def test_a_client_that_goes_is_told_from_a_body_that_ends(parts):
    with pytest.raises(Disconnected):
        await read_body(receiving(*parts, then_disconnect=True), 10)


async def test_a_client_that_has_gone_before_the_first_part_is_noticed():
    async def receive():
        return {"type": "http.disconnect"}

    with pytest.raises(Disconnected):
        await read_body(receive, 10)
