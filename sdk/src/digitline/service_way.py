"""The way from this machine to a service: name, proxy, connection, TLS. Sends no request."""

import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

CONNECT_S: Final = 5.0
CERTIFICATE_DAYS: Final = 14
_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080}
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_UNKNOWN_AUTHORITY: Final = "get the operator's CA as a PEM file, and name it in SSL_CERT_FILE"
# X509_V_ERR_... of OpenSSL's x509_vfy.h -> what to do.
_TLS_REMEDIES: Final = {
    9: "it is not valid yet: set this machine's clock (timedatectl), or ask the operator",
    10: "it has expired: set this machine's clock (timedatectl), or ask the operator to renew it",
    62: "write the name that the certificate has, or ask the operator for one with this name",
    64: "write the name that the certificate has, in place of the number",
}

Status = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    status: Status
    text: str
    remedy: str = ""  # empty if all is well


def way_to(url: str) -> Iterator[Finding]:
    """The checks of name, connection and TLS, in the order in which one needs another.

    Args:
        url: of the service; through a proxy, name and connection are the proxy's.
    """
    parts = urlsplit(url)
    host, port = str(parts.hostname), parts.port or _PORTS[parts.scheme]
    if (proxy := _proxy_of(parts.scheme, host)) is not None:
        yield Finding("proxy", "ok", f"{parts.scheme.upper()}_PROXY is {proxy.hostname}")
        host, port = str(proxy.hostname), proxy.port or _PORTS.get(proxy.scheme, 80)
    yield _resolve(host, port)
    yield _connect(host, port)
    if proxy is None:
        yield _shake_hands(host, port) if parts.scheme == "https" else _no_tls(host)


def _resolve(host: str, port: int) -> Finding:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        return Finding(
            "DNS", "failed", f"{host}: {error}",
            "check the name; then this machine's resolver (resolvectl status)",
        )  # fmt: skip
    addresses = dict.fromkeys(str(one[4][0]) for one in found)
    return Finding("DNS", "ok", f"{host} is {', '.join(addresses)}")


def _connect(host: str, port: int) -> Finding:
    begun = time.perf_counter()
    try:
        socket.create_connection((host, port), CONNECT_S).close()
    except OSError as error:
        return Finding(
            "connection", "failed", f"port {port}: {error}",
            "is the service running, is the port right, does a firewall stop it?",
        )  # fmt: skip
    took_ms = (time.perf_counter() - begun) * 1e3
    return Finding("connection", "ok", f"port {port} in {took_ms:.1f} ms")


def _proxy_of(scheme: str, host: str) -> SplitResult | None:
    """What the environment sends requests to this host through; None: nothing."""
    proxies = getproxies()
    found = proxies.get(scheme) or proxies.get("all")
    if not found or proxy_bypass(host):
        return None
    return urlsplit(found if "://" in found else f"http://{found}")


def _shake_hands(host: str, port: int) -> Finding:
    context = httpx.create_ssl_context()  # what a read trusts, which this machine's list is not
    try:
        with (
            socket.create_connection((host, port), CONNECT_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            certificate = secured.getpeercert() or {}
            version = secured.version()
    except ssl.SSLCertVerificationError as error:
        return Finding(
            "TLS", "failed", f"the certificate is refused: {error.verify_message}",
            _TLS_REMEDIES.get(error.verify_code, _UNKNOWN_AUTHORITY),
        )  # fmt: skip
    except OSError as error:
        return Finding("TLS", "failed", str(error), "is this port HTTPS? Else write http://")
    ends = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
    days = (ends - time.time()) / 86_400
    text = f"{version}, the certificate is valid for {days:.0f} more days"
    if days < CERTIFICATE_DAYS:
        return Finding("TLS", "warning", text, "tell the operator to renew it")
    return Finding("TLS", "ok", text)


def _no_tls(host: str) -> Finding:
    if host in _LOOPBACK:
        return Finding("TLS", "ok", "not needed on this machine")
    return Finding("TLS", "warning", "none: key and crops are readable on the way", "use https://")
