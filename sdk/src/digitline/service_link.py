"""Plain requests to the service, one try each, for what no letter waits for: drain and doctor."""

import asyncio
import math
import random
import time
from types import TracebackType
from typing import Any, Final, Self

import httpx

from digitline.answers import Reading, reading_of
from digitline.calls import SHAPE_ERRORS
from digitline.core import media_type_of
from digitline.exceptions import AnswerUnreadable, NetworkFailed
from digitline.exchange import RawAnswer, exchange, open_http
from digitline.loop_thread import LoopThread
from digitline.request_ids import ServiceClock, new_request_id
from digitline.verdicts import body_of

TIMEOUT_S: Final = 10.0  # of a whole request; httpx knows only the time of each step
_LATE_S: Final = 1.0  # the loop may be late by so much


class ServiceLink:
    """One connection to the service, kept open; safe from many threads.

    Args:
        url: of the service.
        key: of the site; None: the service asks for none.
        transport: in place of the network, for tests.

    Raises:
        ValueError: the address or the key cannot be used.
    """

    def __init__(
        self, url: str, key: str | None, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._http = open_http(url, key, transport)
        self._base = str(self._http.base_url).rstrip("/")
        self._loop = LoopThread()
        self._clock = ServiceClock()
        self._random = random.Random()  # noqa: S311 - no secret

    def read(self, crop: bytes, request_id: str, key: str) -> Reading:
        """Read one crop of the mail.

        Args:
            crop: a PNG or JPEG file.
            request_id: the read's; it may have been sent with it before.
            key: the Idempotency-Key; requests with the same one are recorded once.

        Raises:
            Unanswered: no answer; the same read may succeed later.
            Refused: the service refused the request.
        """
        started = time.perf_counter()
        body = self._ask(
            "POST",
            "/v1/digit",
            request_id,
            crop,
            {"content-type": media_type_of(crop), "idempotency-key": key},
        )
        took_ms = (time.perf_counter() - started) * 1e3
        try:
            return reading_of(body, took_ms=took_ms)
        except SHAPE_ERRORS as error:
            raise _unreadable(error, request_id) from error

    def explain(self, crop: bytes) -> dict[str, Any]:
        """How the service reads a crop that is no mail: it keeps no record. Errors as `read`."""
        headers = {"content-type": media_type_of(crop)}
        return self._ask("POST", "/v1/explain", self.new_id(), crop, headers)

    def model(self) -> dict[str, Any]:
        """The body of `GET /v1/model`, which has `version`, `sha256` and `thresholds`.

        Raises:
            Unanswered, Refused: as `read`.
        """
        request_id = self.new_id()
        body = self._ask("GET", "/v1/model", request_id, None, {})
        if missing := {"version", "sha256", "thresholds"} - body.keys():
            raise _unreadable(KeyError(*missing), request_id)
        return body

    def ping(self) -> RawAnswer:
        """The answer of `GET /livez`, which needs no key.

        Raises:
            NetworkFailed: there is none.
            AnswerUnreadable: it is none of the service.
        """
        return self._exchange("GET", "/livez", self.new_id(), None, {})

    def new_id(self) -> str:
        """A version 7 UUID with the service's time."""
        return new_request_id(self._clock, self._random)

    def age_s(self, request_id: str) -> float:
        """How old a version 7 UUID is by the service's clock; of another text: infinitely."""
        try:
            return self._clock.now_s() - int(request_id.replace("-", "")[:12], 16) / 1e3
        except ValueError:
            return math.inf

    def close(self) -> None:
        """Close the connection; a request that another thread waits for raises ClientClosed."""
        self._loop.stop(self._http.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(
        self,
        method: str,
        path: str,
        request_id: str,
        content: bytes | None,
        headers: dict[str, str],
    ) -> dict[str, Any]:
        answer = self._exchange(method, path, request_id, content, headers)
        body = body_of(answer, request_id, self._clock.now_s())
        self._clock.on_date(answer.headers.get("date"))
        return body

    def _exchange(
        self,
        method: str,
        path: str,
        request_id: str,
        content: bytes | None,
        headers: dict[str, str],
    ) -> RawAnswer:
        async def ask() -> RawAnswer:
            async with asyncio.timeout(TIMEOUT_S):
                return await exchange(
                    self._http,
                    method,
                    httpx.URL(self._base + path),
                    request_id=request_id,
                    headers={**headers, "x-request-id": request_id},
                    content=content,
                )

        try:
            return self._loop.run(ask(), time.monotonic() + TIMEOUT_S + _LATE_S)
        except TimeoutError:
            raise NetworkFailed(
                f"{self._base}: no whole answer within {TIMEOUT_S:.0f} s; `digitline doctor` "
                "looks for the cause",
                request_id=request_id,
            ) from None


def _unreadable(error: Exception, request_id: str) -> AnswerUnreadable:
    return AnswerUnreadable(
        f"the answer lacks what this client expects ({error!r}); check the address, or install "
        "the digitline of the service's version",
        request_id=request_id,
    )
