"""One request over httpx, and its answer within bounds. Knows no status and no digits."""

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib import import_module
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from digitline.exceptions import AnswerUnreadable, NetworkFailed
from digitline.pool_orphans import close_orphans

MOST_ANSWER_BYTES: Final = 4_000_000  # 256 crops with five candidates each are 0.2 MB
KEEP_ALIVE_S: Final = 60.0  # the service closes an idle connection after 75 s
MOST_CONNECTIONS: Final = 100

OnEvent = Callable[[str, dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """What came back."""

    url: str
    status: int
    reason: str
    headers: httpx.Headers
    body: bytes  # empty, if it was compressed or too large


def open_http(
    url: str, key: str | None, transport: httpx.AsyncBaseTransport | None
) -> httpx.AsyncClient:
    """A pool of connections.

    It follows no redirect, so that the key goes nowhere else, and keeps no cookie, so that no load
    balancer binds a scanner to one task.

    Args:
        url: of the service.
        key: of the site; None: without.
        transport: in place of the network, for tests.

    Raises:
        ValueError: the address, the key or the file of SSL_CERT_FILE cannot be used.
    """
    _import_all()
    headers = {"accept-encoding": "identity"}  # an answer is small; a packed one may be a bomb
    if key is not None:
        headers["authorization"] = f"Bearer {checked_key(key)}"
    try:
        return httpx.AsyncClient(
            base_url=checked_url(url),
            headers=headers,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            timeout=None,  # noqa: S113  the callers keep one deadline over all of a call
            limits=httpx.Limits(
                max_connections=MOST_CONNECTIONS,
                max_keepalive_connections=MOST_CONNECTIONS,
                keepalive_expiry=KEEP_ALIVE_S,
            ),
            transport=transport,
        )
    except OSError as error:
        authority = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
        raise ValueError(
            f"the certificates of SSL_CERT_FILE or SSL_CERT_DIR, {authority!r}, cannot be read "
            f"({error}); name a PEM file"
        ) from error


def _import_all() -> None:
    """Import what httpx imports in its first request.

    A child of a fork waits for ever for a module that another thread was importing.
    """
    for name in ("httpcore._backends.anyio", "anyio._backends._asyncio"):
        with suppress(ImportError):  # another version has another name
            import_module(name)
    anyio = import_module("anyio")
    for name in dir(anyio):
        getattr(anyio, name)


async def exchange(
    http: httpx.AsyncClient,
    method: str,
    url: httpx.URL,
    *,
    request_id: str,
    headers: Mapping[str, str],
    content: bytes | None = None,
    params: Mapping[str, str] | None = None,
    on_event: OnEvent | None = None,
) -> RawAnswer:
    """Send a request and take its answer, at most 4 MB of it; `on_event` is told each step.

    Raises:
        NetworkFailed: there is no answer, or half of one.
        AnswerUnreadable: a good status, but the body is compressed or too large.
    """
    try:
        async with http.stream(
            method,
            url,
            content=content,
            params=params,
            headers=headers,
            extensions=None if on_event is None else {"trace": on_event},
        ) as response:
            body, flaw = await _body_of(response)
    except asyncio.CancelledError:
        await close_orphans(http)
        raise
    except httpx.RequestError as error:
        raise NetworkFailed(
            f"{http.base_url}: {_cause(error)}; `digitline doctor` looks for the cause",
            request_id=request_id,
        ) from error
    if flaw is not None and response.status_code == httpx.codes.OK:
        raise AnswerUnreadable(
            f"{response.url} answered {flaw}; check the address and what is between here and the "
            "service",
            request_id=request_id,
        )
    return RawAnswer(
        str(response.url), response.status_code, response.reason_phrase, response.headers, body
    )


def _cause(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error or 'no details'}"
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, ssl.SSLCertVerificationError):
            return f"its certificate is refused: {below.verify_message}"
        below = below.__cause__ or below.__context__
    return text


async def _body_of(response: httpx.Response) -> tuple[bytes, str | None]:
    """The body; or why it is not taken."""
    packed = response.headers.get("content-encoding", "identity")
    if packed != "identity":
        return b"", f"a body that is packed with {packed[:20]!r}, which was not asked for"
    length = response.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > MOST_ANSWER_BYTES:
        return b"", f"{int(length[:20]):,} bytes; an answer has at most {MOST_ANSWER_BYTES:,}"
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > MOST_ANSWER_BYTES:
            return b"", f"more than {MOST_ANSWER_BYTES:,} bytes, which no answer has"
    return bytes(body), None


def checked_url(url: str) -> str:
    """The address of a service.

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(url)
    is_whole = parts.scheme in ("http", "https") and parts.hostname
    if not is_whole or parts.username is not None or parts.query or parts.fragment:
        shown = url if parts.username is None else "with a user"
        raise ValueError(
            f"the address of the service is {shown!r}; write it as https://HOST or "
            "http://HOST:PORT, without a user, ? and #"
        )
    _ = parts.port  # raises if it is no number up to 65,535
    return url


def checked_key(key: str) -> str:
    """A key, without the line's end that files and secrets often have.

    Raises:
        ValueError: no header may have it. The text does not show it.
    """
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(
            f"the key of {len(key)} characters has spaces, line ends or letters that no key has, "
            "or is empty; give the key alone, or None"
        )
    return key
