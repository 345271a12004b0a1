"""The outermost ASGI application: route, admit, read the body, answer within a deadline, count.

It stands in front of another application, such as BentoML's, and answers our paths without it:
BentoML's layers cost three to four times as much as reading a digit. Paths that are the other's own
are forwarded, behind the same checks. This module replaces BentoML's layers: limits, deadlines,
metrics, logs. Knows nothing about what is read or answered.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from functools import partial
from typing import Final, Generic

import structlog
from starlette.types import Receive, Scope, Send

from serving.config import Settings
from serving.edge.body import BodyMemory, Disconnected, check_length, content_type, read_body
from serving.edge.guard import Client, KeyGuard
from serving.edge.in_flight import Exchange, InFlight
from serving.edge.key_ring import ANONYMOUS
from serving.edge.lifecycle import Lifecycle
from serving.edge.rate_limit import RateLimiter
from serving.edge.repeated_fields import check_repeated
from serving.edge.repetition import attempt_kind, repeated_read_id
from serving.edge.request_id import read_id_of, request_id_of
from serving.edge.sender import sender_of, trusted_proxies, was_forwarded
from serving.messages import SCANNER, Answer, Model, Request, RequestLabels
from serving.problems import Problem, problem_of, to_answer
from serving.reading.health import Health
from serving.request_telemetry import RequestTelemetry
from serving.route import Route

# Never refused: a load balancer must not take a flood of other requests for a fault.
PROBES: Final = frozenset({"livez", "readyz", "v2-live", "v2-ready", "v2-model-ready"})
CLIENT_GONE: Final = 499  # nginx's status for a client that disconnected; counted, never sent
NOT_MODIFIED: Final = 304
log = structlog.get_logger()

# (scope, content type, body, receive, sender) -> the other application's answer
Forward = Callable[[Scope, str, bytes, Receive, Hashable], Awaitable[Answer]]


def same_path(path: str, version: str) -> str:  # noqa: ARG001  of the model
    """The table's path of a path, where each has its own."""
    return path


def no_deadline(headers: Mapping[bytes, bytes]) -> int | None:  # noqa: ARG001
    """What is answered does not wait for anything."""
    return None


class Edge(Generic[Model]):
    """Answers our routes; forwards routes without a handler.

    Args:
        routes: path -> what to check, and the handler. A path with a brace stands for others.
        path_in_table: (path, version of the model) -> the table's path that stands for it.
        forward: answers the routes without a handler; None: there are none.
        deadline_of: headers of a prediction -> milliseconds until what was sent can wait no longer.
        settings: limits and deadlines.
        guard: checks API keys.
        in_flight: the requests in progress.
        lifecycle: handles start-up and shutdown.
        health: tells whether this process is draining.
        telemetry: counts requests.
        model_in_force: the model that answers the requests which arrive now.
    """

    def __init__(
        self,
        *,
        routes: dict[str, Route[Model]],
        settings: Settings,
        guard: KeyGuard,
        in_flight: InFlight,
        lifecycle: Lifecycle,
        health: Health,
        telemetry: RequestTelemetry,
        model_in_force: Callable[[], Model],
        path_in_table: Callable[[str, str], str] = same_path,
        forward: Forward | None = None,
        deadline_of: Callable[[Mapping[bytes, bytes]], int | None] = no_deadline,
    ) -> None:
        self.routes = routes
        self.guard = guard
        self.lifecycle = lifecycle
        self.health = health
        self._path_in_table = path_in_table
        self._forward = forward
        self._deadline_of = deadline_of
        self._settings = settings
        self._in_flight = in_flight
        self._rates = RateLimiter(settings.rate_limit_rps)
        self._body_memory = BodyMemory()
        self._telemetry = telemetry
        self.model_in_force = model_in_force
        self._trusted = trusted_proxies()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self.lifecycle.run(scope, receive, send)
        # Returning closes any other connection, such as a websocket.

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = self._in_flight.enter(receive)
        try:
            await self._answer_exchange(exchange, scope, receive, send)
        finally:  # only now: an answer that waits to be sent holds memory
            self._in_flight.leave(exchange)
            self._body_memory.release(exchange)

    async def _answer_exchange(
        self, exchange: Exchange, scope: Scope, receive: Receive, send: Send
    ) -> None:
        headers = dict(scope["headers"])  # of a repeated field the last
        request_id = request_id_of(headers)
        # The model once: one version answers all of the request.
        labels = RequestLabels(self.model_in_force(), ANONYMOUS)
        if (kind := attempt_kind(headers)) is not None:
            self._telemetry.on_repeated(kind)
        try:
            answer = await self._handle(scope, headers, receive, exchange, request_id, labels)
        except Disconnected:
            answer = None
        except asyncio.CancelledError:
            if exchange.ended_by is None or exchange.task is None:
                raise
            exchange.task.uncancel()
            answer = self._answer_ended(exchange, request_id, scope["path"])
        except Exception as error:  # noqa: BLE001  the outermost layer answers every error
            answer = self._refuse(error, request_id, scope["path"])
        self._in_flight.end_answer(exchange)
        status = CLIENT_GONE if answer is None else answer.status
        seconds = time.perf_counter() - exchange.started
        if answer is not None:
            await self._send(send, answer, request_id, labels.model.version)
        # Count after the loop has written the answer, so that the client does not wait for it.
        asyncio.get_running_loop().call_soon(self._telemetry.on_request, labels, status, seconds)

    async def _handle(
        self,
        scope: Scope,
        headers: dict[bytes, bytes],
        receive: Receive,
        exchange: Exchange,
        request_id: str,
        labels: RequestLabels[Model],
    ) -> Answer:
        """Admit the request, read its body and call its handler."""
        path = scope["path"]
        if len(headers) != len(scope["headers"]):
            check_repeated(scope["headers"])
        route = self._route(path, scope["method"], labels.model)
        labels.endpoint = route.endpoint
        if route.scope == "predict" and route.method == "POST":
            labels.traffic = SCANNER  # the reader says which are bulk
        if route.is_internal and was_forwarded(headers):
            raise self._nothing_at(path)
        client = self._admit(route, headers, scope, exchange)
        labels.site = client.site
        deadline_ms = self._deadline_of(headers) if labels.traffic is SCANNER else None
        kind, body = await self._receive_body(route, headers, receive, exchange)
        self._in_flight.begin_answer(exchange)
        if route.handler is None:
            return await self._ask_behind(scope, kind, body, receive, client.bucket, labels)
        return await route.handler(
            Request(
                id=request_id,
                read_id=repeated_read_id(headers, client.site, body)
                or read_id_of(request_id, headers),
                site=client.site,
                content_type=kind,
                headers=headers,
                query_string=scope["query_string"],
                body=body,
                started=exchange.started,
                guard_ms=(time.perf_counter() - exchange.started) * 1e3,
                model=labels.model,
                path=path,
                labels=labels,
                deadline_ms=deadline_ms,
                sender=client.bucket,
            )
        )

    async def _ask_behind(
        self,
        scope: Scope,
        kind: str,
        body: bytes,
        receive: Receive,
        sender: Hashable,
        labels: RequestLabels[Model],
    ) -> Answer:
        """The other's answer, of one model: it is asked again if that was exchanged meanwhile."""
        assert self._forward is not None, "a route without a handler needs `forward`"
        while True:
            model = self.model_in_force()
            answer = await self._forward(scope, kind, body, receive, sender)
            if model is self.model_in_force():
                labels.model = model
                return answer

    def _route(self, path: str, method: str, model: Model) -> Route[Model]:
        route = self.routes.get(path)
        if route is None:
            route = self.routes.get(self._path_in_table(path, model.version))
        if route is None or "{" in path:
            raise self._nothing_at(path)
        if method != route.method and not (method == "HEAD" and route.method == "GET"):
            allowed = "GET, HEAD" if route.method == "GET" else route.method
            raise Problem(
                405,
                f"{path} takes {allowed}, not {method[:20]}",
                closes_connection=True,
                headers=((b"allow", allowed.encode()),),
            )
        return route

    def _admit(
        self, route: Route[Model], headers: dict[bytes, bytes], scope: Scope, exchange: Exchange
    ) -> Client:
        """Check key, requests in progress and rate, in this order, before the body is read."""
        if route.endpoint in PROBES:
            return Client(ANONYMOUS, "")
        peer = scope.get("client")
        sender = sender_of(
            peer[0] if peer else "", headers.get(b"x-forwarded-for", b""), self._trusted
        )
        if route.scope is None:
            client = Client(ANONYMOUS, sender)
        else:
            client = self.guard.admit(headers, route.scope, sender, scope.get("server"))
        reason = "in_flight"
        try:
            self._in_flight.admit(exchange, client.bucket)
            reason = "rate"
            self._rates.take(client.bucket)
        except Problem:
            self._telemetry.on_shed(reason)
            raise
        return client

    async def _receive_body(
        self, route: Route[Model], headers: dict[bytes, bytes], receive: Receive, exchange: Exchange
    ) -> tuple[str, bytes]:
        """The body's type and its bytes; both are empty if the path takes no body."""
        if not route.content_types:
            return "", b""
        kind = content_type(headers, route.content_types)
        settings = self._settings
        limit = settings.max_bulk_body_bytes if route.is_bulk else settings.max_body_bytes
        check_length(headers, limit)
        self._body_memory.check_room(exchange, headers)
        hold = partial(self._body_memory.hold, exchange)
        return kind, await read_body(receive, limit, hold)

    def _answer_ended(self, exchange: Exchange, request_id: str, path: str) -> Answer | None:
        """The answer to a request that the tick has ended; None: the client has disconnected."""
        if exchange.ended_by == "disconnect":
            return None
        settings = self._settings
        if exchange.ended_by == "body deadline":
            problem = Problem(
                408,
                f"the body was not complete after {settings.body_deadline_ms} ms; "
                "send it faster, or a smaller one",
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
        facts = {"request_id": request_id, "path": path[:80], "status": problem.status}
        if problem.status == 500:
            log.error("request failed", **facts, exc_info=error)
        elif problem.status == 503:
            self._telemetry.on_shed(type(error).__name__)
            log.warning("request refused", **facts, detail=problem.detail)
        else:
            log.debug("request refused", **facts, detail=problem.detail)
        return to_answer(problem, request_id, is_open_inference=path.startswith("/v2"))

    async def _send(self, send: Send, answer: Answer, request_id: str, model_version: str) -> None:
        headers = [
            (b"content-type", answer.content_type),
            (b"x-request-id", request_id.encode()),
            (b"x-model-version", model_version.encode()),
            *answer.headers,
        ]
        if answer.status != NOT_MODIFIED:  # its length would be that of the answer it stands for
            headers.append((b"content-length", str(len(answer.body)).encode()))
        if self.health.is_draining:  # moves keep-alive connections to another instance
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def _nothing_at(self, path: str) -> Problem:
        shown = sorted(one for one in self.routes if one.startswith("/v1/"))
        remedy = "see /docs" if "/docs" in self.routes else f"there are {', '.join(shown)}"
        text = f"there is nothing at {path[:80]!r}; {remedy}"
        return Problem(404, text, closes_connection=True)
