"""One call to the service: all its tries within one deadline, and what the client learns from it.

Knows the service's errors and headers, nothing about digits. httpx alone cannot keep a deadline:
its timeouts are per operation, so an answer that arrives byte by byte never meets one.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import httpx
import stamina

from digitline.circuit import Circuit
from digitline.connecting import Connector, ConnectPhase
from digitline.exceptions import (
    AnswerUnreadable,
    DeadlineExceeded,
    DigitlineError,
    Unanswered,
)
from digitline.exchange import exchange
from digitline.latency_window import LatencyWindow
from digitline.request_ids import ServiceClock, new_request_id
from digitline.retry_budget import RetryBudget
from digitline.trace_context import load_trace_headers
from digitline.verdicts import body_of

MOST_SENT: Final = 4  # requests for one call: the first, its hedge, retries
_FIRST_WAIT_S: Final = 0.02  # at most, before the first retry; then twice as long, and so on
_LEAST_HEDGE_DELAY_S: Final = 0.001

# What reading a body raises that has another shape.
SHAPE_ERRORS: Final = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError)

Typed = TypeVar("Typed")


@dataclass(frozen=True, slots=True)
class Call:
    """What is sent, the same on each try."""

    path: str
    content: bytes
    content_type: str
    params: Mapping[str, str] = field(default_factory=dict)
    is_hedged: bool = True
    letter_deadline: float | None = None  # on the loop's clock: the letter leaves the belt


@dataclass(slots=True)
class _Progress:
    """What one call has done so far."""

    request_id: str
    headers: dict[str, str]
    begun: float
    deadline: float
    num_sent: int = 0


class Caller:
    """Sends calls through one pool of connections.

    Args:
        http: the pool; closed by the caller.
        random_source: of the jitter and the request ids.
        clock: the wall clock for request ids.
    """

    def __init__(
        self, http: httpx.AsyncClient, random_source: random.Random, clock: ServiceClock
    ) -> None:
        self._http = http
        self._random = random_source
        self._clock = clock
        self._budget = RetryBudget()
        self._circuit = Circuit(random_source)
        self._latencies = LatencyWindow()
        self._trace_headers = load_trace_headers()
        self._connector = Connector(http)
        self._urls: dict[str, httpx.URL] = {}
        self._given_up: set[asyncio.Task[Any]] = set()

    async def post(
        self, call: Call, deadline: float, make: Callable[[dict[str, Any]], Typed]
    ) -> Typed:
        """The answer.

        Args:
            call: what to send.
            deadline: on the running loop's clock.
            make: the answer from its body; raises what a body of another shape raises.

        Raises:
            Unanswered: no answer in time; the subclass says why.
            Refused: the service refused the request.
        """
        loop = asyncio.get_running_loop()
        progress = _Progress(
            request_id=new_request_id(self._clock, self._random),
            headers=self._trace_headers(),
            begun=loop.time(),
            deadline=deadline,
        )
        if loop.time() >= deadline:  # this thread is behind; to send it would make it later still
            raise _too_late(progress)
        async with self._judged(progress):
            self._budget.earn()
            async for attempt in stamina.retry_context(
                on=lambda error: self._wait_before_retry(error, progress),
                attempts=None,  # the deadline and the budget decide
                timeout=None,
            ):
                with attempt:
                    return await self._send_hedged(call, progress, make, is_retry=attempt.num > 1)
        raise AssertionError("the last attempt raises")

    async def aclose(self) -> None:
        """Wait until the requests that were given up have ended; they are cancelled already."""
        await self._connector.aclose()
        await asyncio.gather(*self._given_up, return_exceptions=True)

    @asynccontextmanager
    async def _judged(self, progress: _Progress) -> AsyncIterator[None]:
        """Ask the circuit breaker, and tell it how the call ended."""
        loop = asyncio.get_running_loop()
        self._circuit.enter(loop.time())
        try:
            yield
        except Unanswered as error:
            error.num_sent = progress.num_sent
            error.sent_key = progress.request_id if progress.num_sent else None
            self._circuit.on_failure(loop.time(), error.retry_after_s)
            raise
        except DigitlineError:
            self._circuit.on_answer()
            raise
        except BaseException:
            if progress.num_sent and loop.time() >= progress.deadline:
                self._circuit.on_failure(loop.time(), None)  # a waiting thread has seen it first
            else:
                self._circuit.on_cancelled()
            raise
        self._circuit.on_answer()

    def _wait_before_retry(self, error: Exception, progress: _Progress) -> bool | float:
        """Seconds until the next try; False: none helps, none is allowed or none is in time."""
        if not isinstance(error, Unanswered) or isinstance(error, DeadlineExceeded):
            return False
        left_s = progress.deadline - asyncio.get_running_loop().time()
        if error.retry_after_s is None:
            most_s = min(_FIRST_WAIT_S * 2 ** (progress.num_sent - 1), left_s / 4)
            wait_s = self._random.uniform(0, most_s)
        else:
            wait_s = error.retry_after_s + self._random.uniform(0, _FIRST_WAIT_S)
        is_allowed = progress.num_sent < MOST_SENT and wait_s < left_s and self._budget.spend()
        return wait_s if is_allowed else False

    async def _send_hedged(
        self,
        call: Call,
        progress: _Progress,
        make: Callable[[dict[str, Any]], Typed],
        *,
        is_retry: bool,
    ) -> Typed:
        """Send; once it lasts longer than 19 of 20 do, send again. The first answer counts."""
        loop = asyncio.get_running_loop()
        kind = "retry" if is_retry else None
        sending = {asyncio.create_task(self._send(call, progress, make, kind))}
        hedge_after_s = self._hedge_after_s() if call.is_hedged and not is_retry else None
        hedge_at = None if hedge_after_s is None else loop.time() + hedge_after_s
        failure: BaseException | None = None
        try:
            while sending:
                until = progress.deadline if hedge_at is None else min(hedge_at, progress.deadline)
                done, sending = await asyncio.wait(
                    sending,
                    timeout=max(0.0, until - loop.time()),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                failures = [task.exception() for task in done]  # both may have ended
                for task, failure in zip(done, failures, strict=True):
                    if failure is None:
                        return task.result()
                for failure in failures:
                    if failure is not None and not isinstance(failure, Unanswered):
                        raise failure
                if done:
                    hedge_at = None
                elif loop.time() >= progress.deadline:
                    raise _too_late(progress)
                elif hedge_at is not None:
                    hedge_at = None
                    if self._budget.spend():
                        sending.add(asyncio.create_task(self._send(call, progress, make, "hedge")))
        finally:
            self._give_up(sending)
        assert failure is not None
        raise failure

    def _give_up(self, tasks: set[asyncio.Task[Any]]) -> None:
        """Cancel, and do not wait: closing a connection may take longer than the deadline."""
        for task in tasks:
            task.cancel()
            self._given_up.add(task)
            task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._given_up.discard(task)
        if not task.cancelled():
            task.exception()  # or asyncio logs that nobody asked for it

    def _hedge_after_s(self) -> float | None:
        p95_s = self._latencies.p95_s()
        return None if p95_s is None else max(_LEAST_HEDGE_DELAY_S, p95_s)

    def _url(self, path: str) -> httpx.URL:
        """Parsed once: httpx takes a seventh of a request's time to join and parse an address."""
        url = self._urls.get(path)
        if url is None:
            base = str(self._http.base_url).rstrip("/")
            url = self._urls[path] = httpx.URL(base + path)
        return url

    async def _send(
        self,
        call: Call,
        progress: _Progress,
        make: Callable[[dict[str, Any]], Typed],
        kind: str | None,
    ) -> Typed:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        progress.num_sent += 1
        phase = ConnectPhase()
        try:
            answer = await exchange(
                self._http,
                "POST",
                self._url(call.path),
                request_id=progress.request_id,
                headers=_headers(call, progress, kind, begun),
                content=call.content,
                params=call.params or None,
                on_event=phase.on_event,
            )
        except asyncio.CancelledError:
            self._connector.on_cancelled(phase, is_late=loop.time() >= progress.deadline)
            raise
        finally:  # of a request that was given up too, or slow ones would not count as slow
            self._latencies.add(loop.time() - begun)
        body = body_of(answer, progress.request_id, self._clock.now_s())
        try:
            typed = make(body)
        except SHAPE_ERRORS as error:
            raise AnswerUnreadable(
                f"the answer lacks what this client expects ({type(error).__name__}: {error}); "
                "check the address, or install the digitline of the service's version",
                request_id=progress.request_id,
            ) from error
        self._clock.on_date(answer.headers.get("date"))  # that of a proxy's page says nothing
        return typed


def _headers(call: Call, progress: _Progress, kind: str | None, now: float) -> dict[str, str]:
    headers = {
        **progress.headers,
        "content-type": call.content_type,
        "x-request-id": progress.request_id,
        "idempotency-key": progress.request_id,
    }
    if kind is not None:
        headers["x-attempt"] = kind
    if call.letter_deadline is not None:
        headers["x-deadline-ms"] = str(max(1, round((call.letter_deadline - now) * 1e3)))
    return headers


def _too_late(progress: _Progress) -> DeadlineExceeded:
    allowed_ms = (progress.deadline - progress.begun) * 1e3
    return DeadlineExceeded(
        f"no answer within {allowed_ms:.0f} ms ({progress.num_sent} requests sent); allow more "
        "with deadline_ms, or give the client a fallback",
        request_id=progress.request_id,
    )
