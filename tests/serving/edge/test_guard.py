import hashlib

import pytest

from serving.config import Settings
from serving.edge.guard import KeyGuard, needs_keys
from serving.edge.key_ring import Key, KeyRing
from serving.problems import Problem

NOW_S = 1_800_000_000.0
PEER = "192.0.2.7"
SERVER = ("10.0.0.5", 3000)


class Clock:
    def __init__(self, now=0.0):
        self.now = now

    def __call__(self):
        return self.now


def ring(*keys):
    return KeyRing(list(keys), NOW_S)


def entry(text=b"secret", *, site="berlin", scopes=("predict",), expires_s=None):
    return Key(site, hashlib.sha256(text).digest(), frozenset(scopes), expires_s)


def admit(keys, headers, scope="predict"):
    return KeyGuard(keys, clock=Clock(NOW_S)).admit(headers, scope, PEER, SERVER)


def test_without_keys_everybody_is_admitted_and_counted_by_address():
    client = KeyGuard(None).admit({}, "admin", PEER, SERVER)
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
def test_a_live_key_is_admitted_as_its_site(headers):
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
def test_other_credentials_are_401_and_ask_for_a_bearer_token(headers):
    with pytest.raises(Problem) as caught:
        admit(ring(entry()), headers)
    assert caught.value.status == 401
    assert (b"www-authenticate", b"Bearer") in caught.value.headers


@pytest.mark.parametrize(("expires_s", "is_let_in"), [(NOW_S + 1, True), (NOW_S, False)])
def test_a_key_is_valid_until_it_expires(expires_s, is_let_in):
    keys = ring(entry(expires_s=expires_s))
    if is_let_in:
        assert admit(keys, {b"x-api-key": b"secret"}).site == "berlin"
    else:
        with pytest.raises(Problem):
            admit(keys, {b"x-api-key": b"secret"})


def test_a_key_that_expires_while_the_service_runs_is_refused():
    clock = Clock(NOW_S)
    key_guard = KeyGuard(ring(entry(expires_s=NOW_S + 60)), clock=clock)
    key_guard.admit({b"x-api-key": b"secret"}, "predict", PEER, SERVER)
    clock.now += 60
    with pytest.raises(Problem):
        key_guard.admit({b"x-api-key": b"secret"}, "predict", PEER, SERVER)


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
def test_keys_are_needed_unless_the_service_listens_on_loopback(auth, host, needed):
    settings = Settings(auth=auth).model_copy(update={"host": host})  # the console takes names, too
    assert needs_keys(settings) is needed


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"host": b"localhost"},
        {b"host": b"LOCALHOST:3000"},
        {b"host": b"127.0.0.1:3000"},
        {b"host": b"127.9.9.9"},
        {b"host": b"[::1]:3000"},
        {b"host": b"digits:3000"},
        {b"host": b"localhost:3000", b"origin": b"http://localhost:8080"},
        {b"host": b"localhost:3000", b"origin": b"https://127.0.0.1"},
        {b"host": b"localhost:3000", b"sec-fetch-site": b"same-origin"},
    ],
    ids=repr,
)
def test_without_keys_this_machines_own_requests_are_admitted(headers):
    local = KeyGuard(None, is_local_only=True)
    assert local.admit(headers, "predict", "127.0.0.1", ("127.0.0.1", 3000)).site == "local"


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({b"host": b"localhost", b"x-forwarded-for": b"127.0.0.1"}, "forwarded"),
        ({b"host": b"localhost", b"forwarded": b"for=127.0.0.1"}, "forwarded"),
        ({b"host": b"localhost", b"via": b"1.1 tunnel"}, "forwarded"),
        ({b"host": b"localhost", b"cf-connecting-ip": b"127.0.0.1"}, "forwarded"),
        ({b"host": b"evil.example:3000"}, "Host"),
        ({b"host": b"localhost.evil.example"}, "Host"),
        ({b"host": b"127.0.0.1.evil.example"}, "Host"),
        ({b"host": b"192.168.0.5:3000"}, "Host"),
        ({b"host": b"0.0.0.0:3000"}, "Host"),
        ({b"host": b""}, "Host"),
        ({b"host": b"localhost", b"origin": b"https://evil.example"}, "Origin"),
        ({b"host": b"localhost", b"origin": b"null"}, "Origin"),
        ({b"host": b"localhost", b"origin": b"http://intranet"}, "Origin"),
        ({b"host": b"localhost", b"origin": b"http://localhost.evil.example"}, "Origin"),
        ({b"host": b"localhost", b"origin": b"chrome-extension://localhost"}, "Origin"),
        ({b"host": b"localhost", b"sec-fetch-site": b"cross-site"}, "Sec-Fetch-Site"),
    ],
    ids=repr,
)
def test_without_keys_a_request_of_others_is_401_and_says_why(headers, named):
    local = KeyGuard(None, is_local_only=True)
    with pytest.raises(Problem) as refused:
        local.admit(headers, "predict", "127.0.0.1", ("127.0.0.1", 3000))
    assert refused.value.status == 401
    assert named in refused.value.detail
    assert "DIGITS_API_KEYS_FILE" in refused.value.detail
