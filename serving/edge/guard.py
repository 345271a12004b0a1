"""Checks API keys: which are in force, and whether a request has one with the right scope."""

import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from serving.config import Settings
from serving.edge.key_ring import ANONYMOUS, Key, KeyRing, KeysError, load_keys
from serving.edge.sender import was_forwarded
from serving.key_scope import KeyScope
from serving.problems import Problem

_BEARER: Final = b"bearer "


class Client(NamedTuple):
    """The caller: its key's site, and the bucket that its rate is counted in."""

    site: str
    bucket: bytes | str


class KeyGuard:
    """Admits requests with a live key of the right scope; admits all if no keys are in force.

    Args:
        keys: in force; None: no key is needed. Replaced at reload.
        is_local_only: if no keys are in force, answer on loopback addresses only.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        keys: KeyRing | None,
        *,
        is_local_only: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.keys = keys
        self._is_local_only = is_local_only
        self._clock = clock

    def admit(
        self,
        headers: Mapping[bytes, bytes],
        scope: KeyScope,
        sender: str,
        server: tuple[str, int] | None,
    ) -> Client:
        """Identify the caller.

        Args:
            headers: of the request.
            scope: needed by its path.
            sender: address that the request is counted by, from serving.edge.sender.
            server: our address that the request came in on.

        Raises:
            Problem: 401 without a live key, 403 without the scope.
        """
        if self.keys is None:
            if self._is_local_only:
                check_local(headers, server[0] if server else "")
            return Client(ANONYMOUS, sender)
        key = self._find_key(headers)
        if key is None:
            raise Problem(
                401,
                "send a live key as 'Authorization: Bearer KEY' or 'X-Api-Key: KEY'; "
                "python -m serving.keys makes one",
                closes_connection=True,
                headers=((b"www-authenticate", b"Bearer"),),
            )
        if scope not in key.scopes:
            raise Problem(
                403,
                f"the key of {key.site} has the scopes {', '.join(sorted(key.scopes))}; "
                f"this path needs {scope}",
                closes_connection=True,
            )
        return Client(key.site, key.sha256)

    def _find_key(self, headers: Mapping[bytes, bytes]) -> Key | None:
        """The first live key in the two headers: a gateway may add one that is not ours."""
        key = self._find_live_key(headers.get(b"x-api-key"))
        if key is None:
            authorization = headers.get(b"authorization", b"")
            if authorization[: len(_BEARER)].lower() == _BEARER:
                key = self._find_live_key(authorization[len(_BEARER) :].strip())
        return key

    def _find_live_key(self, presented: bytes | None) -> Key | None:
        assert self.keys is not None
        key = None if presented is None else self.keys.find(presented)
        return key if key is not None and key.is_live(self._clock()) else None


def keys_in_force(settings: Settings) -> KeyRing | None:
    """The keys in force: each request must send one of them. None: no key is needed.

    Keys that are set are needed on localhost too: a proxy may run beside the service.

    Raises:
        KeysError: keys are needed and none are set, or their file is unfit.
    """
    keys = load_keys(settings, time.time())
    if settings.auth == "off" or (keys is None and not needs_keys(settings)):
        return None
    if keys is None:
        raise KeysError(
            f"listening on {settings.host} needs API keys: set DIGITS_API_KEYS_FILE "
            "(python -m serving.keys new makes entries), or DIGITS_AUTH=off to serve without keys"
        )
    return keys


def needs_keys(settings: Settings) -> bool:
    """Whether requests need a key. auto: unless the service listens on a loopback address."""
    if settings.auth != "auto":
        return settings.auth == "on"
    try:
        return not ip_address(settings.host).is_loopback
    except ValueError:
        return settings.host != "localhost"


def check_local(headers: Mapping[bytes, bytes], local_address: str) -> None:
    """Refuse a request from outside this machine, where no keys are set.

    A proxy or tunnel on this machine connects from localhost, and so does a browser here that runs
    another site's script, or one whose name was made to resolve to 127.0.0.1 (DNS rebinding).

    Args:
        headers: of the request.
        local_address: our address that it came in on.

    Raises:
        Problem: 401.
    """
    host, origin = headers.get(b"host"), headers.get(b"origin")
    if is_exposed(local_address):
        found = f"this one came in on {local_address}"
    elif was_forwarded(headers):
        found = "this one was forwarded by a proxy"
    elif host is not None and not _is_local_host(host):
        found = f"this one has the Host {host[:80].decode('latin-1')!r}"
    elif origin is not None and not _is_local_origin(origin):
        found = f"this one has the Origin {origin[:80].decode('latin-1')!r}"
    elif headers.get(b"sec-fetch-site") == b"cross-site":
        found = "this one is another site's (Sec-Fetch-Site: cross-site)"
    else:
        return
    raise Problem(
        401,
        f"this service has no keys, so it answers this machine's own requests only, and {found}"
        ": set DIGITS_API_KEYS_FILE, or DIGITS_AUTH=off to serve without keys",
        closes_connection=True,
        headers=((b"www-authenticate", b"Bearer"),),
    )


@lru_cache(maxsize=64)
def _is_local_origin(origin: bytes) -> bool:
    scheme, _, host = origin.partition(b"://")
    return scheme.lower() in (b"http", b"https") and _is_loopback(_name_of(host))


@lru_cache(maxsize=64)
def _is_local_host(host: bytes) -> bool:
    """Whether a Host header, with or without a port, can only mean this machine.

    It names a loopback address, or has no dot: public DNS has no such names, so nobody outside can
    make one resolve to this machine.
    """
    name = _name_of(host)
    return _is_loopback(name) or not (name == "" or "." in name or ":" in name)


def _name_of(host: bytes) -> str:
    """A host's name or address without its port; empty if it is malformed."""
    try:
        return urlsplit(f"//{host.decode('ascii')}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(name: str) -> bool:
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=64)
def is_exposed(local_address: str) -> bool:
    """Whether other machines can reach this address of ours.

    `bentoml serve --host 0.0.0.0` does not tell the service which address it is bound to.
    """
    try:
        return not ip_address(local_address).is_loopback
    except ValueError:
        return False  # a path, not an address: a Unix socket
