"""What can go wrong: one class for each cause. Every message has the value, limit and remedy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """What the service said when it refused (RFC 9457)."""

    status: int  # of HTTP
    type: str  # "urn:digitline:problem:..."; "about:blank" if something before the service answered
    title: str
    detail: str  # value, limit and remedy
    request_id: str | None
    rows: Sequence[Mapping[str, Any]] = ()  # of labels: each row that has a mistake


class DigitlineError(Exception):
    """Any failure of a call. `request_id` is what the service's log knows the call by."""

    def __init__(self, message: str, *, request_id: str | None = None) -> None:
        super().__init__(message)
        self.request_id = request_id


class Unanswered(DigitlineError):
    """The service gave no answer, so a fallback may: the subclasses say why.

    Args:
        message: the value, the limit and the remedy.
        request_id: of the call; the same over all its tries.
        num_sent: requests that were sent for the call.
        retry_after_s: the service asked to wait so long; None: it did not say.
        sent_key: the Idempotency-Key that this crop was sent alone with; None: it was not sent, or
            in a bundle.
    """

    def __init__(
        self,
        message: str,
        *,
        request_id: str | None = None,
        num_sent: int = 0,
        retry_after_s: float | None = None,
        sent_key: str | None = None,
    ) -> None:
        super().__init__(message, request_id=request_id)
        self.num_sent = num_sent
        self.retry_after_s = retry_after_s
        self.sent_key = sent_key


class DeadlineExceeded(Unanswered):
    """No answer arrived within the deadline."""


class NetworkFailed(Unanswered):
    """Name, route, connection, TLS or HTTP failed, and no try was left."""


class ServiceUnavailable(Unanswered):
    """The service answered 408, 429, 500, 502, 503 or 504, and no try was left."""


class CircuitOpen(Unanswered):
    """Nothing was sent, because most of the last calls failed."""


class AnswerUnreadable(Unanswered):
    """The answer is not one that this version of the client knows."""


class Refused(DigitlineError):
    """The service refused the request itself, so that no repetition helps.

    Args:
        problem: what the service said.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.status} {problem.detail}", request_id=problem.request_id)
        self.problem = problem


class CropRefused(Refused):
    """The crop cannot be read: damaged, too small, too large, or of another type."""


class KeyRefused(Refused):
    """The key is unknown, has expired or lacks the scope."""


class RequestRefused(Refused):
    """Anything else in the request is refused, such as a pattern or a row of labels."""


class OfflineUnavailable(DigitlineError):
    """This machine cannot read alone: a package, the packed model or the spool is not in order."""


class ClientClosed(DigitlineError):
    """The client was closed before or during the call."""
