"""The outermost ASGI application: guard, route, deadline, answer, count.

It stands in front of BentoML's own application and answers its own paths before any of BentoML's
layers run (they cost three to four times what reading a digit does); the few paths that are
BentoML's go on to it, behind the same guard. What those layers would have given is given here:
limits, deadlines, metrics, logs.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable, MutableMapping
from types import FrameType
from typing import Any, Final

import structlog
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from serving.api.routes import Route
from serving.api.tensors import check_json
from serving.config import Settings
from serving.edge.guard import (
    Arriving,
    Client,
    Disconnected,
    KeyGuard,
    RateLimiter,
    check_length,
    content_type,
    is_exposed,
    read_body,
)
from serving.edge.in_flight import Exchange, InFlight
from serving.edge.key_ring import ANONYMOUS, KeyRing, KeysError
from serving.edge.request_id import request_id_of
from serving.messages import JSON, Answer, Request
from serving.problems import Problem, bento_problem, problem_of, to_answer
from serving.reading.health import Health
from serving.telemetry import Telemetry

Scope = MutableMapping[str, Any]
Receive = Callable[[], Any]
Send = Callable[[MutableMapping[str, Any]], Any]
AsgiApp = Callable[[Scope, Receive, Send], Any]

TICK_S: Final = 0.1
RELOAD_EVERY_S: Final = 2.0
HEALTH_EVERY_S: Final = 2.0
HUNG_EXIT_S: Final = 30.0  # a batch this long will not end: the supervisor starts a fresh worker
CLIENT_GONE: Final = 499  # what nginx counts a vanished client as; never sent
log = structlog.get_logger()


class Edge:
    """Answers our routes; passes those without a handler on to BentoML.

    Args:
        routes: path -> what to check and whom to ask.
        bento: BentoML's application.
        settings: limits and deadlines.
        load_keys: the keys in force, or None where none are needed; called again when the key
            file may have changed.
        health: told when draining begins.
        telemetry: counts.
        model_version: sent with every answer.
        on_close: called after the last answer.
    """

    def __init__(
        self,
        *,
        routes: dict[str, Route],
        bento: AsgiApp,
        settings: Settings,
        load_keys: Callable[[], KeyRing | None],
        health: Health,
        telemetry: Telemetry,
        model_version: str,
        on_close: Callable[[], None],
    ) -> None:
        self._routes = routes
        self._bento = bento
        self._settings = settings
        self._load_keys = load_keys
        self._guard = KeyGuard(load_keys())
        self._rates = RateLimiter(settings.rate_limit_rps)
        self._arriving = Arriving()
        self._health = health
        self._telemetry = telemetry
        self._version_header = (b"x-model-version", model_version.encode())
        self._on_close = on_close
        self._next_tick: asyncio.TimerHandle
        self._look_behind_proxy: Any = ProxyHeadersMiddleware(
            _nothing, os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")
        )
        self._in_flight = InFlight(
            settings.body_deadline_ms / 1e3, settings.request_deadline_ms / 1e3
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        # Websockets are not spoken here: returning closes them.

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = self._in_flight.enter(receive)
        headers = dict(scope["headers"])
        request_id = request_id_of(headers)
        labels = _Labels()
        try:
            answer = await self._handle(scope, headers, receive, exchange, request_id, labels)
        except Disconnected:
            answer = None
        except asyncio.CancelledError:
            if exchange.ended_by is None or exchange.task is None:
                raise
            exchange.task.uncancel()
            answer = self._late(exchange, request_id, scope["path"])
        except Exception as error:  # noqa: BLE001  the boundary: whatever it is gets an answer
            answer = self._refuse(error, request_id, scope["path"])
        finally:
            self._in_flight.leave(exchange)
        status = CLIENT_GONE if answer is None else answer.status
        seconds = time.perf_counter() - exchange.started
        if answer is not None:
            await self._send(send, answer, request_id)
        # Counted once the loop has written the answer: a scanner does not wait for our counting.
        asyncio.get_running_loop().call_soon(
            self._telemetry.on_request, labels.endpoint, labels.site, status, seconds
        )

    async def _handle(
        self,
        scope: Scope,
        headers: dict[bytes, bytes],
        receive: Receive,
        exchange: Exchange,
        request_id: str,
        labels: "_Labels",
    ) -> Answer:
        """Check, receive and answer."""
        if self._guard.keys is None and b"x-forwarded-for" in headers:
            # Only who shows no key is counted by address: no other request pays for the look.
            await self._look_behind_proxy(scope, receive, None)
        path = scope["path"]
        route = self._route(path, scope["method"])
        labels.endpoint = route.endpoint
        client = self._admit(route, headers, scope)
        labels.site = client.site
        kind, body = await self._receive_body(route, headers, receive)
        self._in_flight.begin_answer(exchange)
        if route.handler is None:
            check_json(body)
            return await self._ask_bento(scope, kind, _replay(body, receive))
        return await route.handler(
            Request(
                id=request_id,
                site=client.site,
                content_type=kind,
                headers=headers,
                query_string=scope["query_string"],
                body=body,
                started=exchange.started,
                guard_ms=(time.perf_counter() - exchange.started) * 1e3,
            )
        )

    async def _ask_bento(self, scope: Scope, kind: str, receive: Receive) -> Answer:
        """BentoML's answer.

        BentoML sees the one content type that was checked: of several, it would take another.

        Raises:
            Problem: BentoML refused.
        """
        headers = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
        if kind:
            headers.append((b"content-type", kind.encode()))
        start: dict[str, Any] = {}
        body = bytearray()

        async def collect(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                body.extend(message.get("body", b""))

        await self._bento({**scope, "headers": headers}, receive, collect)
        if start["status"] >= 400:
            raise bento_problem(start["status"], bytes(body))
        answered_type = dict(start["headers"]).get(b"content-type", JSON)
        return Answer(bytes(body), start["status"], answered_type)

    def _route(self, path: str, method: str) -> Route:
        route = self._routes.get(path)
        if route is None:
            raise Problem(
                404, f"there is nothing at {path[:80]!r}; see /docs", closes_connection=True
            )
        if method != route.method and not (method == "HEAD" and route.method == "GET"):
            allowed = "GET, HEAD" if route.method == "GET" else route.method
            raise Problem(
                405,
                f"{path} takes {allowed}, not {method[:20]}",
                closes_connection=True,
                headers=((b"allow", allowed.encode()),),
            )
        return route

    def _admit(self, route: Route, headers: dict[bytes, bytes], scope: Scope) -> Client:
        """Refuse by key, number and rate, in this order, before the body is read."""
        if route.scope is None:
            return Client(ANONYMOUS, "")
        if self._guard.keys is None and self._settings.auth == "auto":
            server = scope.get("server")
            if server is not None and is_exposed(server[0]):
                raise Problem(
                    401,
                    f"this service has no keys, so it answers on localhost only, not on {server[0]}"
                    ": set DIGITS_API_KEYS_FILE, or DIGITS_AUTH=off on purpose",
                    closes_connection=True,
                    headers=((b"www-authenticate", b"Bearer"),),
                )
        client = self._guard.admit(headers, route.scope, scope.get("client"))
        limit = self._settings.max_in_flight
        if self._in_flight.num_answering >= limit:
            self._telemetry.on_shed("in_flight")
            raise Problem(
                429,
                f"{limit} requests are being answered, which is the limit; send fewer at once",
                retry_after_s=1.0,
                closes_connection=True,
                headers=(
                    (b"ratelimit-policy", b'"in-flight";q=%d;qu="concurrent-requests"' % limit),
                    (b"ratelimit", b'"in-flight";r=0;t=1'),
                ),
            )
        try:
            self._rates.take(client.bucket)
        except Problem:
            self._telemetry.on_shed("rate")
            raise
        return client

    async def _receive_body(
        self, route: Route, headers: dict[bytes, bytes], receive: Receive
    ) -> tuple[str, bytes]:
        """The body's type and its bytes; nothing of a path that takes none."""
        if not route.content_types:
            return "", b""
        kind = content_type(headers, route.content_types)
        settings = self._settings
        limit = settings.max_bulk_body_bytes if route.is_bulk else settings.max_body_bytes
        check_length(headers, limit)
        return kind, await read_body(receive, limit, self._arriving)

    def _late(self, exchange: Exchange, request_id: str, path: str) -> Answer | None:
        """What to answer when the tick has ended a request; None: there is nobody to answer."""
        if exchange.ended_by == "disconnect":
            return None
        settings = self._settings
        if exchange.ended_by == "body deadline":
            problem = Problem(
                408,
                f"the body was not complete after {settings.body_deadline_ms} ms",
                closes_connection=True,
            )
        else:
            self._telemetry.on_shed("deadline")
            problem = Problem(
                504,
                f"there was no answer after {settings.request_deadline_ms} ms; try again",
                retry_after_s=1.0,
            )
        return self._refuse(problem, request_id, path)

    def _refuse(self, error: Exception, request_id: str, path: str) -> Answer:
        problem = problem_of(error)
        known = {"request_id": request_id, "path": path[:80], "status": problem.status}
        if problem.status == 500:
            log.error("request failed", **known, exc_info=error)
        elif problem.status == 503:
            self._telemetry.on_shed(type(error).__name__)
            log.warning("request refused", **known, detail=problem.detail)
        else:
            log.debug("request refused", **known, detail=problem.detail)
        return to_answer(problem, request_id, is_open_inference=path.startswith("/v2"))

    async def _send(self, send: Send, answer: Answer, request_id: str) -> None:
        headers = [
            (b"content-type", answer.content_type),
            (b"content-length", str(len(answer.body)).encode()),
            (b"x-request-id", request_id.encode()),
            self._version_header,
            *answer.headers,
        ]
        if self._health.is_draining:  # so that kept connections move to another instance
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """BentoML's own start-up and shutdown, with our tick between them."""
        background = [
            asyncio.create_task(self._repeat(RELOAD_EVERY_S, self._reload_keys)),
            asyncio.create_task(self._watch_health()),
        ]
        loop = asyncio.get_running_loop()
        self._next_tick = loop.call_later(TICK_S, self._tick, loop)
        self._drain_before_exit()

        async def closing_first(message: MutableMapping[str, Any]) -> None:
            # The server ends the loop once it is told that shutdown is complete.
            if message["type"].startswith("lifespan.shutdown."):
                self._next_tick.cancel()
                for task in background:
                    task.cancel()
                await asyncio.gather(*background, return_exceptions=True)
                self._on_close()
            await send(message)

        await self._bento(scope, receive, closing_first)

    async def _repeat(self, every_s: float, call: Callable[[], None]) -> None:
        """Call for ever; an error is logged, for the next call may do better."""
        while True:
            await asyncio.sleep(every_s)
            try:
                call()
            except Exception:
                log.exception("failed, and is tried again", what=call.__name__)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look after deadlines and the gauge, and again a little later.

        By a timer of its own: a task that sleeps takes three turns of the loop from the requests
        that it meets.
        """
        self._next_tick = loop.call_later(TICK_S, self._tick, loop)
        try:
            self._in_flight.tick()
            self._telemetry.tick(len(self._in_flight), time.monotonic())
        except Exception:
            log.exception("tick failed")

    async def _watch_health(self) -> None:
        """Look at ourselves, whether or not somebody asks; say so when it changes."""
        before: list[str] = []
        self._telemetry.ready.set(1)  # the golden crop was read while this was built
        while True:
            await asyncio.sleep(HEALTH_EVERY_S)
            reasons = await self._health.reasons_not_ready()
            self._telemetry.ready.set(not reasons)
            if reasons and not before and not self._health.is_draining:
                log.error("not ready", reasons=reasons)
            elif before and not reasons:
                log.warning("ready again", after=before)
            before = reasons
            if self._health.model_busy_s() > HUNG_EXIT_S:
                log.error("the model hangs; this worker ends", seconds=HUNG_EXIT_S)
                os._exit(1)  # nothing gentler ends a thread that hangs

    def _reload_keys(self) -> None:
        """Take over changed keys; a broken file leaves the old ones in force, and says so."""
        try:
            keys = self._load_keys()
            if keys != self._guard.keys:  # a ring remembers the keys that it has seen
                self._guard.keys = keys
        except KeysError as error:
            log.warning("keys not reloaded; the old ones stay in force", detail=str(error))

    def _drain_before_exit(self) -> None:
        """On SIGTERM, turn readiness red and go on answering before the server stops.

        A load balancer goes on sending for as long as it takes to notice.
        """
        stop = signal.getsignal(signal.SIGTERM)
        loop = asyncio.get_running_loop()

        def drain(number: int, _stack: FrameType | None) -> None:
            if self._health.is_draining or not callable(stop):
                return
            self._health.is_draining = True
            log.info("draining", seconds=self._settings.drain_s)
            loop.call_soon_threadsafe(loop.call_later, self._settings.drain_s, stop, number, None)

        if callable(stop):  # the server's own handler; absent in tests
            signal.signal(signal.SIGTERM, drain)


class _Labels:
    """What metrics call a request, as far as it has come."""

    __slots__ = ("endpoint", "site")

    def __init__(self) -> None:
        self.endpoint = "none"
        self.site = ANONYMOUS


async def _nothing(_scope: Any, _receive: Any, _send: Any) -> None:
    """The application behind a middleware that is asked only for what it writes in the scope."""


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body read before."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Any:
        return messages.pop() if messages else await receive()

    return replay
