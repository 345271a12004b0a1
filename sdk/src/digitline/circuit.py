"""The circuit breaker: send nothing while the service or the network is down. Pure: no clock."""

import random
from collections import deque
from typing import Final

from digitline.exceptions import CircuitOpen

NUM_JUDGED: Final = 20  # last calls
FEWEST_FAILED: Final = 10  # of them: half
FIRST_OPEN_S: Final = 0.25  # until one call tries again; twice as long after each that failed
LAST_OPEN_S: Final = 1.0


class Circuit:
    """Opens when half of the last 20 calls failed.

    While it is open, each call is refused at once. When its time is over, one call goes through:
    if it is answered, the circuit closes; if not, it stays open for twice as long, up to 1 s. The
    time is at least what the service's last Retry-After asked for, and up to half as long again,
    so that many scanners do not return at the same moment.

    Args:
        random_source: of the spread.
    """

    def __init__(self, random_source: random.Random) -> None:
        self._random = random_source
        self._failed: deque[bool] = deque(maxlen=NUM_JUDGED)
        self._open_until: float | None = None  # None: closed
        self._open_s = FIRST_OPEN_S
        self._is_probed = False

    @property
    def is_open(self) -> bool:
        """Whether calls are refused, but for the one that tries again."""
        return self._open_until is not None

    def enter(self, now: float) -> None:
        """A call begins; it must end with one of the three methods below.

        Args:
            now: seconds on a clock that never jumps.

        Raises:
            CircuitOpen: nothing may be sent.
        """
        if self._open_until is None:
            return
        wait_s = max(0.0, self._open_until - now)
        if wait_s > 0 or self._is_probed:
            raise CircuitOpen(
                f"{FEWEST_FAILED} of the last {NUM_JUDGED} calls failed, so nothing is sent for "
                f"{wait_s:.1f} s more; key the letter by hand, or give the client a fallback",
                retry_after_s=wait_s,
            )
        self._is_probed = True

    def on_answer(self) -> None:
        """The call was answered; a refusal of the request is an answer, too."""
        if self._open_until is not None:
            self._failed.clear()
            self._open_s = FIRST_OPEN_S
        self._open_until = None
        self._is_probed = False
        self._failed.append(False)

    def on_failure(self, now: float, retry_after_s: float | None) -> None:
        """The call got no answer."""
        self._failed.append(True)
        was_probe, self._is_probed = self._is_probed, False
        if was_probe or (self._open_until is None and sum(self._failed) >= FEWEST_FAILED):
            least_s = max(self._open_s, retry_after_s or 0.0)
            self._open_s = min(2 * self._open_s, LAST_OPEN_S)
            self._open_until = now + self._random.uniform(least_s, 1.5 * least_s)

    def on_cancelled(self) -> None:
        """The caller gave the call up, which says nothing about the service."""
        self._is_probed = False
