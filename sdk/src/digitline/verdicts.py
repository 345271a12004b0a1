"""What an HTTP answer means: a body, a refusal, or no answer at all."""

import json
from typing import Any, Final

import httpx

from digitline.exceptions import (
    AnswerUnreadable,
    CropRefused,
    KeyRefused,
    Problem,
    Refused,
    RequestRefused,
    ServiceUnavailable,
)

# The service says of these that the same request may succeed later (docs/api.md, "Errors").
WORTH_REPEATING: Final = frozenset({408, 429, 500, 502, 503, 504})
_OF_THE_CROP: Final = frozenset({413, 415, 422})
_OF_THE_KEY: Final = frozenset({401, 403})


def body_of(response: httpx.Response, request_id: str) -> dict[str, Any]:
    """The JSON of a good answer.

    Raises:
        ServiceUnavailable: the same request may succeed later.
        Refused: it will not; the subclass says what is wrong with it.
        AnswerUnreadable: neither an answer nor a problem of the service.
    """
    if response.status_code in WORTH_REPEATING:
        problem = problem_of(response)
        raise ServiceUnavailable(
            f"{problem.status} {problem.detail}",
            request_id=request_id,
            retry_after_s=_retry_after_s(response),
        )
    if 400 <= response.status_code < 500:
        raise refusal_of(problem_of(response))
    if response.status_code != 200:
        raise AnswerUnreadable(
            f"{response.request.url} answered {response.status_code}, expected 200; check the "
            "address and what is between here and the service",
            request_id=request_id,
        )
    body = _json_of(response)
    if body is None:
        raise AnswerUnreadable(
            f"{response.request.url} answered {len(response.content)} bytes that are no JSON "
            "object; check the address and what is between here and the service",
            request_id=request_id,
        )
    return body


def refusal_of(problem: Problem) -> Refused:
    """The error for a problem that no repetition helps against."""
    if problem.status in _OF_THE_CROP:
        return CropRefused(problem)
    return KeyRefused(problem) if problem.status in _OF_THE_KEY else RequestRefused(problem)


def problem_of(response: httpx.Response) -> Problem:
    """What the service said; if a proxy answered in its place, what can be said of that."""
    body = _json_of(response) or {}
    return to_problem(
        {
            "status": response.status_code,
            "title": response.reason_phrase,
            "detail": f"{response.request.url} answered {response.status_code} without a reason",
            "request_id": response.headers.get("x-request-id"),
            **body,
        }
    )


def to_problem(body: dict[str, Any]) -> Problem:
    """The problem in a body of RFC 9457."""
    return Problem(
        status=int(body["status"]),
        type=str(body.get("type", "about:blank")),
        title=str(body.get("title", "")),
        detail=str(body.get("detail", "")),
        request_id=body.get("request_id"),
        rows=tuple(body.get("rows", ())),
    )


def _json_of(response: httpx.Response) -> dict[str, Any] | None:
    try:
        body = json.loads(response.content)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _retry_after_s(response: httpx.Response) -> float | None:
    """Of the two forms of RFC 9110 the service sends seconds; a date is ignored."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None
