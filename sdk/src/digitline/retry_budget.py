"""How many extra requests a client may send: retries and hedges together."""

from typing import Final

EARNED_PER_CALL: Final = 0.18  # below the promised 0.2, which leaves room for the first token
AT_START: Final = 1.0  # so that the first call may be repeated
MOST: Final = 10.0  # calls in a row that may be repeated after a quiet time


class RetryBudget:
    """A token bucket: each call earns a part of a token, each extra request takes one.

    So extra requests are at most 0.18 a call and one, whatever fails: a service in trouble never
    gets twice its load.
    """

    def __init__(self) -> None:
        self._tokens = AT_START

    def earn(self) -> None:
        """A call begins."""
        self._tokens = min(MOST, self._tokens + EARNED_PER_CALL)

    def spend(self) -> bool:
        """Take a token; False if there is none, so nothing extra may be sent."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
