"""Who a request is counted by, and whether it was forwarded."""

import pytest

from serving.config import ConfigError
from serving.edge.sender import sender_of, trusted_proxies, was_forwarded


@pytest.fixture
def proxies(monkeypatch):
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "127.0.0.1, 10.0.0.0/8, 2001:db8:1::/48")
    return trusted_proxies()


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "sender"),
    [
        ("192.0.2.7", b"", "192.0.2.7"),
        ("192.0.2.7", b"198.51.100.1", "192.0.2.7"),
        ("10.1.2.3", b"", "10.1.2.3"),
        ("10.1.2.3", b"198.51.100.1", "198.51.100.1"),
        ("10.1.2.3", b"203.0.113.9, 198.51.100.1", "198.51.100.1"),
        ("10.1.2.3", b"203.0.113.9, 198.51.100.1, 10.9.9.9", "198.51.100.1"),
        ("10.1.2.3", b"10.7.7.7, 10.9.9.9", "10.7.7.7"),
        ("10.1.2.3", b"203.0.113.9, unknown", "10.1.2.3"),
        ("10.1.2.3", b"z" * 15_000, "10.1.2.3"),
        ("10.1.2.3", b"198.51.100.1:4711", "198.51.100.1"),
        ("10.1.2.3", b"[2001:db8::5]:4711", "2001:db8::/64"),
        ("10.1.2.3", b"2001:db8:0:0:9:9:9:9", "2001:db8::/64"),
        ("::ffff:10.1.2.3", b"198.51.100.1", "198.51.100.1"),
        ("10.1.2.3", b"::ffff:198.51.100.1", "198.51.100.1"),
        ("2001:db8:1::9", b"2001:db8:5::1", "2001:db8:5::/64"),
        ("2001:db8:2::9", b"198.51.100.1", "2001:db8:2::/64"),
        ("", b"198.51.100.1", ""),
    ],
)
def test_a_sender_is_the_last_address_that_no_trusted_proxy_has(
    proxies, peer, forwarded_for, sender
):
    assert sender_of(peer, forwarded_for, proxies) == sender


def test_a_star_trusts_each_peer_and_nothing_before_the_last_address(monkeypatch):
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    assert sender_of("192.0.2.1", b"203.0.113.9, 198.51.100.1", trusted_proxies()) == "198.51.100.1"


@pytest.mark.parametrize("text", ["localhost", "10.0.0.0/33", "127.0.0.1 10.0.0.1"])
def test_an_invalid_list_of_proxies_refuses_to_start(monkeypatch, text):
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", text)
    with pytest.raises(ConfigError, match="FORWARDED_ALLOW_IPS"):
        trusted_proxies()


@pytest.mark.parametrize(
    ("name", "is_forwarded"),
    [
        (b"forwarded", True),
        (b"x-forwarded-for", True),
        (b"x-forwarded-host", True),
        (b"x-forwarded-proto", True),
        (b"x-real-ip", True),
        (b"via", True),
        (b"cf-connecting-ip", True),
        (b"x-request-id", False),
        (b"host", False),
    ],
)
def test_a_forwarding_header_tells_that_a_request_was_forwarded(name, is_forwarded):
    assert was_forwarded({b"accept": b"", name: b""}) is is_forwarded
