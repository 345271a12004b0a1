"""Who sent a request, as far as its connection and its headers tell. Knows nothing of keys."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

from serving.config import ConfigError

TRUSTED_VARIABLE: Final = "FORWARDED_ALLOW_IPS"
_IPV6_SITE_BITS: Final = 64  # what one household or machine usually gets
_MAX_READ_BYTES: Final = 256  # of X-Forwarded-For, from its end: at least five addresses
_FORWARDING: Final = frozenset(
    (
        b"forwarded", b"via", b"x-real-ip", b"cf-connecting-ip", b"true-client-ip", b"x-client-ip",
        b"x-cluster-client-ip", b"fastly-client-ip", b"fly-client-ip", b"cdn-loop",
        b"x-original-forwarded-for", b"x-envoy-external-address", b"x-azure-clientip",
        b"x-original-host", b"x-original-url", b"x-rewrite-url", b"x-host",
    )
)  # fmt: skip

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True, eq=False)  # hashed by identity: to hash networks is slow
class TrustedProxies:
    """The addresses whose X-Forwarded-For is believed.

    Args:
        networks: of the proxies.
        is_any_peer: whoever connects is a proxy, because nobody else can reach this port.
    """

    networks: tuple[IPv4Network | IPv6Network, ...]
    is_any_peer: bool = False

    def has(self, address: Address) -> bool:
        """Whether it is a proxy's own address."""
        return any(address in network for network in self.networks)


def trusted_proxies() -> TrustedProxies:
    """The proxies that FORWARDED_ALLOW_IPS names: addresses, networks, or `*` for any peer.

    Raises:
        ConfigError: the variable has something else.
    """
    names = [name.strip() for name in os.environ.get(TRUSTED_VARIABLE, "127.0.0.1").split(",")]
    try:
        networks = tuple(ip_network(name, strict=False) for name in names if name not in ("", "*"))
    except ValueError as error:
        raise ConfigError(
            f"{TRUSTED_VARIABLE}: {error}; list IP addresses or networks with commas between, or *"
        ) from None
    return TrustedProxies(networks, is_any_peer="*" in names)


@lru_cache(maxsize=1024)
def sender_of(peer: str, forwarded_for: bytes, trusted: TrustedProxies) -> str:
    """The address that a request is counted by.

    It is the peer's. If the peer is a trusted proxy, it is the last address in X-Forwarded-For
    that is not a trusted proxy's: what stands before it, the sender may have made up.

    Args:
        peer: address at the other end of the connection; empty for a Unix socket.
        forwarded_for: value of the last X-Forwarded-For header; empty: there is none.
        trusted: the proxies that are believed.

    Returns:
        An IPv4 address, an IPv6 network of 64 bits, or `peer` where it is not an address.
    """
    address = _parse(peer)
    is_proxy = trusted.is_any_peer or (address is not None and trusted.has(address))
    if is_proxy and forwarded_for:
        address = _last_untrusted(forwarded_for[-_MAX_READ_BYTES:], trusted) or address
    return peer if address is None else _site(address)


def is_trusted_peer(peer: str, trusted: TrustedProxies) -> bool:
    """Whether this peer brings the requests of many senders."""
    address = _parse(peer)
    return trusted.is_any_peer or (address is not None and trusted.has(address))


def was_forwarded(headers: Iterable[bytes]) -> bool:
    """Whether a proxy, a tunnel or a CDN passed this request on.

    Args:
        headers: names in lower case.
    """
    names = list(headers)
    return not _FORWARDING.isdisjoint(names) or b"x-forwarded" in b" ".join(names)


def _last_untrusted(forwarded_for: bytes, trusted: TrustedProxies) -> Address | None:
    """None: the text is not a list of addresses."""
    address = None
    for text in reversed(forwarded_for.decode("latin-1").split(",")):
        address = _parse(text)
        if address is None or not trusted.has(address):
            break
    return address


def _parse(text: str) -> Address | None:
    """An address, with or without a port, brackets and zone; None: it is something else."""
    text = text.strip(" \t")
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _site(address: Address) -> str:
    if address.version == 4:
        return str(address)
    return str(ip_network((address, _IPV6_SITE_BITS), strict=False))
