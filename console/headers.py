"""What every answer of the console carries, and whom it answers where no keys are set."""

from __future__ import annotations

from typing import Final

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.edge.guard import check_local
from serving.problems import Problem

_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # no-referrer makes a form's Origin null
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",  # pages show handwriting
}


class Headers:
    """Gives every answer the headers that keep other sites and copies out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.encode(), value.encode())
                        for name, value in _HEADERS.items()
                        if name.encode() not in present
                    ),
                ]
            await send(message)

        await self._app(scope, receive, send_with_headers)


class LocalOnly:
    """Without keys, refuses what other machines, proxies and other sites' scripts send."""

    def __init__(self, app: ASGIApp, *, is_on: bool) -> None:
        self._app, self._is_on = app, is_on

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self._is_on and scope["type"] == "http":
            server = scope.get("server")
            try:
                check_local(dict(scope["headers"]), server[0] if server else "")
            except Problem as problem:
                await PlainTextResponse(f"{problem}\n", 401)(scope, receive, send)
                return
        await self._app(scope, receive, send)
