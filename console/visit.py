"""One request to the console: who makes it, what was sent, and the page that answers.

A page is a plain function from a visit to a response. `guarded` makes a Starlette endpoint of it:
it finds the session, checks the scope and, before a write, the CSRF token.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, quote, urlsplit

import orjson
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from capture.store import Store
from console import sessions
from console.config import ConsoleSettings
from console.sessions import RecentSessions, SignedIn
from pages.templating import render
from serving.edge.key_ring import KeyRing
from serving.key_scope import KeyScope

COOKIE: Final = "digitline_session"
CSRF_HEADER: Final = "x-csrf-token"
CSRF_FIELD: Final = "csrf"
MAX_BODY_BYTES: Final = 1_048_576
SIGN_IN_BODY_BYTES: Final = 16_384
BODY_DEADLINE_S: Final = 10.0
_MAX_NUMBER: Final = 2**31 - 1  # of an action or a crop
_NUL: Final = (b"\0", b"%00", b"\\u0000")
_NAV: Final[tuple[tuple[str, str, KeyScope], ...]] = (
    ("/keying", "Keying", "label"),
    ("/sites", "Sites", "review"),
    ("/plant", "Plant", "review"),
    ("/letters", "Letters", "review"),
    ("/models", "Models", "review"),
    ("/log", "Log", "review"),
)


class Refusal(Exception):
    """A request that is answered with an error page, or with problem+json.

    Args:
        status: of HTTP.
        text: which value, which limit, what to do; for a person.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Console:
    """What every page may use; made once at start."""

    settings: ConsoleSettings
    database: Engine
    archive: Store  # captured records and labels
    reports: Store  # drift reports
    data: Store  # data snapshots
    models: Store  # every champion
    keys: Callable[[], KeyRing | None]  # those in force now
    is_local_only: bool  # no keys, and only this machine is answered
    signed_in: RecentSessions = field(default_factory=RecentSessions)

    @staticmethod
    def now_us() -> int:
        """Microseconds since 1970."""
        return time.time_ns() // 1000

    def transaction(self) -> Session:
        """A transaction of the database, for `with console.transaction().begin() ...`."""
        return Session(self.database, expire_on_commit=False)


@dataclass(frozen=True, slots=True)
class Visit:
    """A request of somebody who is signed in and has the scope."""

    request: Request
    console: Console
    person: SignedIn
    sent: Mapping[str, Any]  # the fields of a form, or the members of a JSON object

    def may(self, scope: KeyScope) -> bool:
        """Whether the person's key has a scope."""
        return scope in self.person.scopes

    def field(self, name: str, *, max_chars: int = 200) -> str:
        """One field of a form, trimmed.

        Raises:
            Refusal: it is missing, empty or too long.
        """
        value = str(self.sent.get(name, "")).strip()
        if not value or len(value) > max_chars:
            raise Refusal(
                400, f"{name} has {len(value)} characters; give 1 to {max_chars} of them."
            )
        return value

    def number_of(self, name: str) -> int:
        """A whole number of the path.

        Raises:
            Refusal: it is something else, or larger than any that the console has given out.
        """
        text = str(self.request.path_params[name])
        number = whole_number(text, _MAX_NUMBER)
        if number is None:
            raise Refusal(
                404, f"There is nothing with the number {text[:20]!r}; see the page before."
            )
        return number

    def page(self, template: str, *, status: int = 200, **values: object) -> HTMLResponse:
        """Fill a template that extends console_base.html."""
        return show(template, self.request, self.person, status=status, **values)


Handler = Callable[[Visit], Response]


@dataclass(frozen=True, slots=True)
class Page:
    """One path of the console."""

    path: str
    handler: Handler
    scope: KeyScope  # needed to see it, or to do it
    method: Literal["GET", "POST"] = "GET"


def show(
    template: str,
    request: Request,
    person: SignedIn | None,
    *,
    status: int = 200,
    **values: object,
) -> HTMLResponse:
    """Fill a template that extends console_base.html."""
    scopes = frozenset[KeyScope]() if person is None else person.scopes
    html = render(
        template,
        person=person,
        csrf="" if person is None else person.csrf,
        nav=[(path, name) for path, name, scope in _NAV if scope in scopes],
        here=request.url.path,
        **values,
    )
    return HTMLResponse(html, status)


def guarded(page: Page, console: Console) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint of a page."""

    async def endpoint(request: Request) -> Response:
        if page.method == "POST":
            check_sender(request)
        token, now_us = request.cookies.get(COOKIE), console.now_us()
        person = console.signed_in.cached(console.keys(), token, now_us=now_us)
        if person is None:
            person = await run_in_threadpool(find_person, console, request)
        if person is None:
            if page.method == "GET" and not wants_json(request):
                return RedirectResponse(f"/sign-in?next={quote(_local_path(request))}", 303)
            raise Refusal(401, "You are not signed in, or your session has ended; sign in again.")
        if page.scope not in person.scopes:
            raise Refusal(
                403,
                f"Your key has the scopes {', '.join(sorted(person.scopes))}; this needs "
                f"{page.scope}. Ask whoever gives out keys.",
            )
        sent = await read_sent(request) if page.method == "POST" else {}
        if page.method == "POST":
            check_csrf(request, person, sent)
        return await run_in_threadpool(page.handler, Visit(request, console, person, sent))

    return endpoint


def find_person(console: Console, request: Request) -> SignedIn | None:
    """Who has sent a request; None if nobody is signed in."""
    return console.signed_in.find(
        console.transaction, console.keys(), request.cookies.get(COOKIE), now_us=console.now_us()
    )


def check_sender(request: Request) -> None:
    """Refuse what another site's page has made the browser send; a program names no site.

    Browsers send Sec-Fetch-Site over https and to localhost only; Origin they send with each POST.
    The port is not compared: a proxy's `Host $host` has none.

    Raises:
        Refusal: 403.
    """
    headers, site = request.headers, request.headers.get("sec-fetch-site")
    origin = headers.get("origin") or headers.get("referer")
    if site is not None:
        is_ours = site in ("same-origin", "none")
    else:
        is_ours = origin is None or _host_of(origin) == _host_of(f"//{headers.get('host', '')}")
    if not is_ours:
        raise Refusal(
            403,
            f"Another site has sent this ({(origin or site or '')[:80]}); open the console's own "
            "page. A proxy in front must pass the header Host on.",
        )


def _host_of(address: str) -> str:
    """Its host; empty where it has none, as the origin `null`."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def check_csrf(request: Request, person: SignedIn, sent: Mapping[str, Any]) -> None:
    """Refuse a write that another site's page has made the browser send.

    Raises:
        Refusal: 403.
    """
    token = request.headers.get(CSRF_HEADER) or str(sent.get(CSRF_FIELD, ""))
    if not sessions.is_same(token, person.csrf):
        raise Refusal(403, "This form is of another session; reload the page and send it again.")


async def read_sent(request: Request, max_bytes: int = MAX_BODY_BYTES) -> dict[str, Any]:
    """The fields of a form or the members of a JSON object.

    Args:
        request: whose body is read.
        max_bytes: of the body; few where nobody is signed in yet.

    Raises:
        Refusal: the body is too large, too slow or cut, or is neither.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            async for part in request.stream():
                body += part
                if len(body) > max_bytes:
                    raise Refusal(413, f"The body is larger than {max_bytes} bytes; send less.")
    except TimeoutError as error:
        raise Refusal(
            408, f"The body was not complete after {BODY_DEADLINE_S:g} s; send it again."
        ) from error
    except ClientDisconnect as error:
        raise Refusal(400, "The body is cut; send it again.") from error
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if any(one in body for one in _NUL):
            raise ValueError("it has the character NUL")  # PostgreSQL's driver raises for it
        if kind == "application/json":
            found = orjson.loads(
                body or b"{}"
            )  # strict: no half characters, NaN or endless numbers
            if not isinstance(found, dict):
                raise ValueError("no JSON object")
            return found
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=100))
    except ValueError as error:
        raise Refusal(400, f"The body cannot be read as {kind or 'a form'}: {error}.") from error


def whole_number(text: str, most: int) -> int | None:
    """The number that plain digits are; None: the text is something else, or above `most`.

    int() takes digits of every script, and raises ValueError for thousands of them.
    """
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(most)):
        return None
    number = int(text)
    return number if number <= most else None


def wants_json(request: Request) -> bool:
    """Whether a program asks: errors are problem+json for it, and no sign-in page."""
    return (
        request.url.path.startswith("/v1/")
        or "application/json" in request.headers.get("accept", "")
        or request.headers.get("content-type", "").startswith("application/json")
    )


def refuse(request: Request, error: Exception) -> Response:
    """The answer to a refused request."""
    assert isinstance(error, Refusal)
    if wants_json(request):
        body = {"status": error.status, "title": "Refused", "detail": str(error)}
        return JSONResponse(body, error.status, media_type="application/problem+json")
    return show(
        "console_error.html", request, None, status=error.status, text=str(error),
        status_text=str(error.status),
    )  # fmt: skip


def _local_path(request: Request) -> str:
    """The address that was asked for, with the escapes that the server has taken away."""
    query = request.url.query
    return quote(request.scope["path"]) + (f"?{query}" if query else "")
