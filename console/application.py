"""The console's application: its pages, who may see them, and the headers of every answer."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from pyarrow import ArrowException
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from capture.store import open_store
from console import audit_log, sign_in
from console.config import ConsoleSettings
from console.database import BUSY_S, is_locked, open_database
from console.headers import Headers, LocalOnly
from console.visit import Console, Page, Refusal, Visit, guarded, refuse
from pages.templating import TEMPLATES
from serving.edge.guard import keys_in_force
from serving.edge.key_ring import KeyRing, KeysError

log = logging.getLogger(__name__)

STATIC: Final = Path(__file__).parent / "static"
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
LOCKED: Final = (
    f"Another program has held the console's database for {BUSY_S:g} s, so nothing was changed; "
    "try again in some seconds. If it stays so, end that program: a backup, or a shell of sqlite3."
)
_RELOAD_KEYS_S: Final = 20.0
_NUM_LOG_ROWS: Final = 200


def open_console(settings: ConsoleSettings, *, host: str) -> Console:
    """Connect to everything that the pages use.

    Args:
        settings: where things are.
        host: address that the console listens on; other machines need keys.

    Raises:
        DatabaseError: the database cannot be used.
        KeysError: keys are needed and none are set, or their file is unfit.
    """
    service = settings.service.model_copy(update={"host": host})
    capture = settings.capture
    ring = keys_in_force(service)
    return Console(
        settings=settings,
        database=open_database(settings.database),
        archive=open_store(capture.store),
        reports=open_store(capture.reports),
        data=open_store(capture.data),
        models=open_store(capture.models),
        keys=_reloading(ring, lambda: keys_in_force(service)),
        is_local_only=ring is None and service.auth == "auto",
    )


def _reloading(
    ring: KeyRing | None, load: Callable[[], KeyRing | None]
) -> Callable[[], KeyRing | None]:
    """The keys in force, read again every 20 s; unfit ones leave the last ones in force."""
    lock, state = threading.Lock(), [ring]
    read_at = [time.monotonic()]

    def keys() -> KeyRing | None:
        with lock:
            if time.monotonic() - read_at[0] > _RELOAD_KEYS_S:
                read_at[0] = time.monotonic()
                with contextlib.suppress(KeysError):
                    state[0] = load()
            return state[0]

    return keys


def make_app(console: Console, pages: Sequence[Page], routes: Sequence[Route] = ()) -> Starlette:
    """Make the application.

    Args:
        console: what the pages use.
        pages: of the rooms.
        routes: endpoints that check their callers themselves.
    """
    listed = [Page("/log", _log, "review"), *pages]
    return Starlette(
        routes=[
            Route("/livez", _livez),
            Route("/static/{name}", _static),
            *sign_in.routes(console),
            *routes,
            *(Route(one.path, guarded(one, console), methods=[one.method]) for one in listed),
        ],
        middleware=[Middleware(Headers), Middleware(LocalOnly, is_on=console.is_local_only)],
        exception_handlers={
            Refusal: refuse,
            HTTPException: _refuse_http,
            # A store's and a spool's errors are OSErrors.
            **dict.fromkeys((OSError, SQLAlchemyError, ArrowException), _refuse_failed),
        },
    )


def _refuse_failed(request: Request, error: Exception) -> Response:
    """The answer where a store or the database fails: nothing was changed."""
    log.error("%s %s: %r", request.method, request.url.path, error)
    if is_locked(error):
        return refuse(request, Refusal(503, LOCKED))
    text = "The captures, the reports or the database cannot be used now; try again in a minute. "
    return refuse(request, Refusal(503, text + "The console's log has the reason."))


def _refuse_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = {404: "There is no such page.", 405: "This page does not take this method."}
    return refuse(request, Refusal(error.status_code, text.get(error.status_code, error.detail)))


async def _livez(_request: Request) -> Response:
    """Whether the process answers; on the event loop, as every thread may wait for the database."""
    return PlainTextResponse("ok\n")


def _static(request: Request) -> Response:
    """A stylesheet or script; a browser keeps it for an hour."""
    name = request.path_params["name"]
    path = TEMPLATES / name if name == "style.css" else STATIC / name
    if path.suffix not in _TYPES or not path.is_file():
        raise Refusal(404, "There is no such file.")
    body = path.read_bytes()
    tag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
    headers = {"etag": tag, "cache-control": "no-cache"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=_TYPES[path.suffix], headers=headers)


def _log(visit: Visit) -> Response:
    """The audit log, newest first."""
    with visit.console.transaction() as database:
        rows = audit_log.latest(database, _NUM_LOG_ROWS)
    return visit.page("console_log.html", rows=rows, num_rows=_NUM_LOG_ROWS)
