"""Request ids, and a wall clock that is corrected by the service's.

The service makes the read id from the request id, if that one's time is right to a minute.
"""

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

_LAST_S: Final = 1e11  # the year 5138
_TRUSTED_S: Final = 5.0  # a smaller difference is left as it is: Date has whole seconds


class ServiceClock:
    """Wall-clock time as the service has it, which no jump of this machine's clock changes.

    Args:
        wall: seconds since 1970 on this machine, asked once.
        steady: seconds on a clock that never jumps.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._steady = steady
        self._offset_s = wall() - steady()

    def now_s(self) -> float:
        """Seconds since 1970."""
        return self._steady() + self._offset_s

    def now(self) -> str:
        """ISO 8601 in UTC, to the millisecond."""
        return datetime.fromtimestamp(self.now_s(), UTC).isoformat(timespec="milliseconds")

    def on_date(self, header: str | None) -> None:
        """An answer had this `Date`."""
        seconds = date_s(header or "")
        if seconds is not None and abs(seconds - self.now_s()) > _TRUSTED_S:
            self._offset_s = seconds - self._steady()


def date_s(header: str) -> float | None:
    """Seconds since 1970 of a `Date`; None: it is none that a request id may have."""
    try:
        seconds = parsedate_to_datetime(header).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds < _LAST_S else None


def new_request_id(clock: ServiceClock, random_source: random.Random) -> str:
    """A UUID of version 7.

    Source:
        RFC 9562, 5.7: 48 bits of milliseconds, 74 random bits.
    """
    milliseconds = int(clock.now_s() * 1000) & (1 << 48) - 1
    noise = random_source.getrandbits(74)
    bits = milliseconds << 80 | 0x7 << 76 | (noise >> 62) << 64 | 0b10 << 62 | noise & (1 << 62) - 1
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
