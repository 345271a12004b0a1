"""What an HTTP answer means: a body, a refusal, or no answer at all."""

import json
from typing import Any, Final

from digitline.exceptions import (
    AnswerUnreadable,
    CropRefused,
    KeyRefused,
    Problem,
    Refused,
    RequestRefused,
    ServiceUnavailable,
)
from digitline.exchange import RawAnswer
from digitline.request_ids import date_s

# The service says of these that the same request may succeed later (docs/api.md, "Errors").
WORTH_REPEATING: Final = frozenset({408, 429, 500, 502, 503, 504})
# Whatever a proxy's page says of its maintenance, a scanner looks again after a minute.
MOST_RETRY_AFTER_S: Final = 60.0
_OF_THE_CROP: Final = frozenset({413, 415, 422})
_OF_THE_KEY: Final = frozenset({401, 403})


def body_of(answer: RawAnswer, request_id: str, now_s: float) -> dict[str, Any]:
    """The JSON of a good answer.

    Args:
        answer: what came back.
        request_id: of the request.
        now_s: seconds since 1970, for a Retry-After that is a date.

    Raises:
        ServiceUnavailable: the same request may succeed later.
        Refused: it will not; the subclass says what is wrong with it.
        AnswerUnreadable: neither an answer to this request nor a problem of the service.
    """
    if answer.status in WORTH_REPEATING:
        problem = problem_of(answer, request_id)
        raise ServiceUnavailable(
            f"{problem.status} {problem.detail}",
            request_id=request_id,
            retry_after_s=_retry_after_s(answer, now_s),
        )
    if 400 <= answer.status < 500:
        raise refusal_of(problem_of(answer, request_id))
    if answer.status != 200:
        where = answer.headers.get("location")
        raise AnswerUnreadable(
            f"{answer.url} answered {answer.status}{f' to {where[:200]}' if where else ''}, "
            "expected 200; check the address and what is between here and the service",
            request_id=request_id,
        )
    body = _json_of(answer)
    if body is None:
        raise AnswerUnreadable(
            f"{answer.url} answered {len(answer.body)} bytes that are no JSON object; check the "
            "address and what is between here and the service",
            request_id=request_id,
        )
    if body.get("request_id", request_id) != request_id:
        raise AnswerUnreadable(
            f"{answer.url} answered another request, {str(body['request_id'])[:64]!r}; what is "
            "between here and the service mixes answers up",
            request_id=request_id,
        )
    return body


def refusal_of(problem: Problem) -> Refused:
    """The error for a problem that no repetition helps against."""
    if problem.status in _OF_THE_CROP:
        return CropRefused(problem)
    return KeyRefused(problem) if problem.status in _OF_THE_KEY else RequestRefused(problem)


def problem_of(answer: RawAnswer, request_id: str) -> Problem:
    """What the service said; if a proxy answered in its place, what can be said of that."""
    facts = {
        "title": answer.reason,
        "detail": f"{answer.url} answered {answer.status} without a reason",
    }
    return to_problem(facts | _texts(_json_of(answer) or {}), answer.status, request_id)


def to_problem(body: dict[str, Any], status: int, request_id: str) -> Problem:
    """The problem in a body of RFC 9457; what has another type is left out."""
    texts = _texts(body)
    rows = body.get("rows")
    return Problem(
        status=status,
        type=texts.get("type", "about:blank"),
        title=texts.get("title", ""),
        detail=texts.get("detail", ""),
        request_id=request_id,
        rows=tuple(row for row in rows if isinstance(row, dict)) if isinstance(rows, list) else (),
    )


def _texts(body: dict[str, Any]) -> dict[str, Any]:
    """The fields that are text, and the rows."""
    return {name: value for name, value in body.items() if isinstance(value, str) or name == "rows"}


def _json_of(answer: RawAnswer) -> dict[str, Any] | None:
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _retry_after_s(answer: RawAnswer, now_s: float) -> float | None:
    """Seconds, or a date beside the answer's own; None: neither."""
    text = answer.headers.get("retry-after", "")
    if text.isascii() and text.isdigit():
        return min(float(text), MOST_RETRY_AFTER_S)
    until_s = date_s(text)
    if until_s is None:
        return None
    begun_s = date_s(answer.headers.get("date", ""))
    wait_s = until_s - (now_s if begun_s is None else begun_s)
    return min(max(0.0, wait_s), MOST_RETRY_AFTER_S)
