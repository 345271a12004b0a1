"""Plain requests to the service, one try each, for what no letter waits for: drain and doctor."""

import random
import time
from types import TracebackType
from typing import Any, Final, Self

import httpx

from digitline.answers import Reading, reading_of
from digitline.core import media_type_of
from digitline.exceptions import AnswerUnreadable, NetworkFailed
from digitline.request_ids import ServiceClock, new_request_id
from digitline.verdicts import body_of

TIMEOUT_S: Final = 10.0  # of each step of a request


class ServiceLink:
    """One connection to the service, kept open; safe from many threads.

    Args:
        url: of the service.
        key: of the site; None: the service asks for none.
        transport: in place of the network, for tests.
    """

    def __init__(
        self, url: str, key: str | None, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._http = httpx.Client(
            base_url=url,
            headers={} if key is None else {"authorization": f"Bearer {key}"},
            timeout=TIMEOUT_S,
            transport=transport,
        )
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
        except (KeyError, TypeError, ValueError) as error:
            raise AnswerUnreadable(
                f"the answer lacks what this client expects ({error!r}); install the digitline of "
                "the service's version",
                request_id=request_id,
            ) from error

    def explain(self, crop: bytes) -> dict[str, Any]:
        """How the service reads a crop that is no mail: it keeps no record. Errors as `read`."""
        headers = {"content-type": media_type_of(crop)}
        return self._ask("POST", "/v1/explain", self.new_id(), crop, headers)

    def model(self) -> dict[str, Any]:
        """The body of `GET /v1/model`. Errors as `read`."""
        return self._ask("GET", "/v1/model", self.new_id(), None, {})

    def ping(self) -> httpx.Response:
        """The answer of `GET /livez`, which needs no key.

        Raises:
            httpx.RequestError: there is none.
        """
        return self._http.get("/livez")

    def new_id(self) -> str:
        """A version 7 UUID with the service's time."""
        return new_request_id(self._clock, self._random)

    def age_s(self, request_id: str) -> float:
        """How old a version 7 UUID is by the service's clock."""
        return self._clock.now_s() - int(request_id.replace("-", "")[:12], 16) / 1e3

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

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
        try:
            response = self._http.request(
                method, path, content=content, headers={**headers, "x-request-id": request_id}
            )
        except httpx.RequestError as error:
            raise NetworkFailed(
                f"{self._http.base_url}: {type(error).__name__}: {error or 'no details'}; "
                "`digitline doctor` looks for the cause",
                request_id=request_id,
            ) from error
        self._clock.on_date(response.headers.get("date"))
        return body_of(response, request_id)
