"""The pages of signing in and out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from console import audit_log, sessions
from console.visit import (
    COOKIE,
    SIGN_IN_BODY_BYTES,
    Console,
    check_csrf,
    check_sender,
    find_person,
    read_sent,
    show,
)


def routes(console: Console) -> list[Route]:
    """The start page, sign-in and sign-out."""
    return [
        Route("/", lambda request: RedirectResponse(_start(console, request), 303)),
        Route("/sign-in", _sign_in_form(console), methods=["GET"]),
        Route("/sign-in", _sign_in(console), methods=["POST"]),
        Route("/sign-out", _sign_out(console), methods=["POST"]),
    ]


def _start(console: Console, request: Request) -> str:
    """The page that a person begins with."""
    person = find_person(console, request)
    if person is None:
        return "/sign-in"
    return "/sites" if "review" in person.scopes else "/keying"


def _sign_in_form(console: Console) -> Callable[[Request], Response]:
    def form(request: Request) -> Response:
        return _show_sign_in(console, request, request.query_params.get("next", ""), "")

    return form


def _show_sign_in(
    console: Console, request: Request, next_path: str, mistake: str, who: str = ""
) -> Response:
    return show(
        "console_sign_in.html", request, None, status=403 if mistake else 200,
        needs_key=console.keys() is not None, next_path=next_path, mistake=mistake, who=who,
    )  # fmt: skip


def _sign_in(console: Console) -> Callable[[Request], Awaitable[Response]]:
    async def post(request: Request) -> Response:
        # Otherwise another site's form could sign a person in under a name of its choice.
        check_sender(request)
        sent = await read_sent(request, SIGN_IN_BODY_BYTES)
        earlier = request.cookies.get(COOKIE)

        def open_session() -> Response:
            try:
                with console.transaction() as database, database.begin():
                    token, person = sessions.sign_in(
                        database, console.keys(), key=str(sent.get("key", "")),
                        who=str(sent.get("who", "")), now_us=console.now_us(),
                    )  # fmt: skip
                    if earlier is not None:  # no page of this browser has its token any more
                        sessions.sign_out(database, earlier)
                    audit_log.add(
                        database, person, "sign in", person.who, {}, at_us=console.now_us()
                    )
            except sessions.SignInError as error:
                return _show_sign_in(
                    console,
                    request,
                    str(sent.get("next", "")),
                    str(error),
                    str(sent.get("who", "")),
                )
            start = "/sites" if "review" in person.scopes else "/keying"
            asked = str(sent.get("next", ""))
            if earlier is not None:
                console.signed_in.forget(earlier)
            is_ours = asked.startswith("/") and not asked.startswith(("//", "/\\"))
            response = RedirectResponse(asked if is_ours else start, 303)
            response.set_cookie(
                COOKIE, token, max_age=sessions.LIFETIME_S, httponly=True, samesite="strict",
                secure=request.url.scheme == "https",
            )  # fmt: skip
            return response

        return await run_in_threadpool(open_session)

    return post


def _sign_out(console: Console) -> Callable[[Request], Awaitable[Response]]:
    async def post(request: Request) -> Response:
        check_sender(request)
        sent = await read_sent(request, SIGN_IN_BODY_BYTES)
        person = await run_in_threadpool(find_person, console, request)
        if person is not None:
            check_csrf(request, person, sent)

            def close_session() -> None:
                with console.transaction() as database, database.begin():
                    sessions.sign_out(database, request.cookies[COOKIE])
                console.signed_in.forget(request.cookies[COOKIE])

            await run_in_threadpool(close_session)
        response = RedirectResponse("/sign-in", 303)
        if COOKIE in request.cookies:  # not sent with another site's form, which ends no session
            response.delete_cookie(COOKIE)
        return response

    return post
