"""The day by which a running program reports and deletes, though the wall clock may jump ahead.

A clock that is a year ahead for an hour must not make a year of records too old. Knows nothing
about what is done with the day.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import date, timedelta
from typing import Final

log = logging.getLogger(__name__)

_DAY_S: Final = 86_400.0
# It counts the time of a machine that sleeps, too; not every system has it.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SteadyDay:
    """Follows the wall clock's day as fast as time passes. A day that the clock keeps is believed.

    Args:
        elapsed_s: seconds on a clock that never jumps.
    """

    def __init__(self, elapsed_s: Callable[[], float] = lambda: time.clock_gettime(_CLOCK)) -> None:
        self._elapsed_s = elapsed_s
        self._day: date | None = None
        self._at_s = 0.0  # when it was the clock's day, too

    def day(self, today: date) -> date:
        """The day, where the wall clock says `today`; the first one is believed."""
        now_s = self._elapsed_s()
        days_since = int((now_s - self._at_s) // _DAY_S)
        if self._day is None or days_since or today <= self._day + timedelta(1):
            self._day, self._at_s = today, now_s
        else:
            log.warning(
                "the clock jumped ahead from %s to %s: nothing is reported or deleted by it until "
                "it has said so for a day; set the clock, or start this again if it is right",
                self._day,
                today,
            )
        return self._day
