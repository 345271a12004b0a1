"""Every way a request can fail, as RFC 9457 problem+json: the one table from error to status."""

import math
from collections.abc import Sequence
from typing import Any, Final

import orjson

from capture.spool import SpoolError
from model.errors import CropError, ModelError, UnsupportedFormat
from serving.messages import Answer

CONTENT_TYPE: Final = b"application/problem+json"
TYPE_PREFIX: Final = "urn:digitline:problem:"

# status -> (slug of the type, title). Each status has one meaning: see docs/api.md.
TITLES: Final[dict[int, tuple[str, str]]] = {
    400: ("malformed-request", "The request is malformed"),
    401: ("no-valid-key", "A valid API key is needed"),
    403: ("wrong-scope", "The key does not allow this"),
    404: ("no-such-path", "There is nothing at this path"),
    405: ("wrong-method", "The path does not take this method"),
    408: ("body-too-slow", "The body did not arrive in time"),
    413: ("body-too-large", "The body is too large"),
    415: ("unsupported-type", "The body's type is not supported"),
    417: ("expectation-failed", "The expectation cannot be met"),
    422: ("unreadable-crop", "The crop cannot be read"),
    429: ("too-many-requests", "Too many requests"),
    431: ("header-too-large", "The header is too large"),
    500: ("internal", "The service failed"),
    501: ("not-implemented", "The request needs what this server does not do"),
    503: ("overloaded", "The service cannot answer now"),
    504: ("deadline", "The answer was not ready in time"),
    505: ("wrong-http-version", "The HTTP version is not supported"),
}


class Problem(Exception):
    """A refusal.

    Args:
        status: one of `TITLES`.
        detail: gives the value, the limit and the remedy.
        retry_after_s: the same request may succeed after this time.
        closes_connection: close it instead of reading the rest of the body.
        headers: added to the answer.
        rows: the rows of the body that have a mistake, each with its field, value and remedy.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        retry_after_s: float | None = None,
        closes_connection: bool = False,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        rows: Sequence[dict[str, Any]] = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.closes_connection = closes_connection
        self.headers = headers
        self.rows = rows


class Overloaded(Exception):
    """The answer would be too late, so the request is refused now."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


_STATUS: Final[tuple[tuple[type[Exception], int], ...]] = (
    (UnsupportedFormat, 415),
    (CropError, 422),
    (Overloaded, 503),
    (SpoolError, 503),
    (ModelError, 503),
)


def problem_of(error: Exception) -> Problem:
    """The problem to answer an error with. An error that is not in the table is a 500."""
    if isinstance(error, Problem):
        return error
    for kind, status in _STATUS:
        if isinstance(error, kind):
            retry_after_s = None
            if status == 503:
                retry_after_s = getattr(error, "retry_after_s", 1.0)
            return Problem(status, str(error), retry_after_s=retry_after_s)
    return Problem(500, "the service failed; the log has the cause under this request_id")


def bento_problem(status: int, body: bytes) -> Problem:
    """A refusal by BentoML, with BentoML's text."""
    return Problem(
        status if status in TITLES else 500,
        f"BentoML refused the call: {body[:400].decode(errors='replace')}",
        retry_after_s=1.0 if status in (429, 503, 504) else None,
    )


def to_dict(problem: Problem, request_id: str) -> dict[str, Any]:
    """The body of a problem, with the member names of RFC 9457."""
    slug, title = TITLES[problem.status]
    content: dict[str, Any] = {
        "type": TYPE_PREFIX + slug,
        "title": title,
        "status": problem.status,
        "detail": problem.detail,
        "request_id": request_id,
    }
    if problem.rows:
        content["rows"] = problem.rows
    return content


def to_answer(problem: Problem, request_id: str, *, is_open_inference: bool) -> Answer:
    """The answer that carries a problem."""
    content = to_dict(problem, request_id)
    if is_open_inference:
        content["error"] = problem.detail  # clients of the protocol read this member
    headers = list(problem.headers)
    if problem.retry_after_s is not None:
        headers.append((b"retry-after", str(max(1, math.ceil(problem.retry_after_s))).encode()))
    if problem.closes_connection:
        headers.append((b"connection", b"close"))
    return Answer(orjson.dumps(content), problem.status, CONTENT_TYPE, tuple(headers))
