"""Serves the reports over HTTP, read-only: ``python -m monitoring serve``.

Only pages that `PAGES` describes leave the store: beside them lie the outbox of alerts, whose file
names and content hold the addresses of webhooks, and the adopted reference. Pages show handwriting,
so a browser keeps no copy, and no other site may frame or embed them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from capture.store import MissingKey, Store, StoreError

log = logging.getLogger(__name__)

_DAY: Final = r"\d{4}-\d\d-\d\d"
_FILE: Final = (
    r"index\.html|evidently\.(?:html|json)|labelled\.html|report\.json|[0-9a-f]{32}-\d{1,10}\.png"
)
PAGES: Final = re.compile(
    rf"index\.html|(?:reference/)?{_DAY}(?:\.\.{_DAY})?/(?:{_FILE})", re.ASCII
)
_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "json": "application/json",
    "png": "image/png",
}
_OURS: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Evidently draws its charts by scripts inside the page. The sandbox gives them an origin of their
# own, so they can read no other report, and they may load nothing.
_EVIDENTLY: Final = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_ALWAYS_ALLOWED: Final = ("localhost", "127.0.0.1")


def make_app(reports: Store, *, hosts: Sequence[str]) -> Starlette:
    """Make the application.

    Args:
        reports: where the reports are.
        hosts: names that a browser may use for this server. Another name is refused, so that no
            page of a stranger reads reports through a name that it points at this machine.
    """

    def page(request: Request) -> Response:
        # The scope's path, because a path parameter drops a last newline.
        return answer(reports, request.scope["path"][1:] or "index.html")

    return Starlette(
        routes=[Route("/{_:path}", page, methods=["GET"])],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
    )


def answer(reports: Store, key: str) -> Response:
    """One file of the reports, with the headers that keep its pictures and scripts to itself."""
    if not PAGES.fullmatch(key):
        return _refusal(404, "There is no such page; the list of reports is at /index.html.")
    try:
        body = reports.get(key)
    except MissingKey:
        return _refusal(404, "This report does not exist or was deleted.")
    except StoreError as error:
        log.error("%s", error)  # noqa: TRY400 - the reason is enough
        return _refusal(503, "The reports cannot be read now; the server's log says why.")
    name = key.rpartition("/")[2]
    policy = _EVIDENTLY if name in ("evidently.html", "labelled.html") else _OURS
    headers = _HEADERS | {"Content-Security-Policy": policy}
    return Response(body, headers=headers, media_type=_TYPES[name.rpartition(".")[2]])


def _refusal(status: int, text: str) -> Response:
    headers = _HEADERS | {"Content-Security-Policy": _OURS}
    return PlainTextResponse(f"{text}\n", status, headers=headers)


def hosts_of(reports_url: str) -> list[str]:
    """The names that the server answers to: this machine's, and that of DIGITS_REPORTS_URL."""
    known = urlsplit(reports_url)
    named = known.hostname if known.scheme in ("http", "https") else None
    return [*_ALWAYS_ALLOWED, *([named] if named else [])]


def serve(reports: Store, *, reports_url: str, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    from serving.server.limited_server import serve_pages

    serve_pages(make_app(reports, hosts=hosts_of(reports_url)), host=host, port=port)
