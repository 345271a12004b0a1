"""Request ids, the caller's own if it is safe to log; and read ids, always a new UUID."""

import random
import re
import time
from collections.abc import Mapping
from typing import Final

_SAFE: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_NS_PER_MS: Final = 1_000_000
_VERSION_7: Final = 0x7 << 76
_VARIANT: Final = 0b10 << 62
_RANDOM_BITS: Final = 62


def request_id_of(headers: Mapping[bytes, bytes]) -> str:
    """The id of a request; the header names must be lower case."""
    own = headers.get(b"x-request-id")
    if own is not None and _SAFE.fullmatch(own):
        return str(own, "ascii")
    return new_request_id()


def read_id_of(request_id: str, headers: Mapping[bytes, bytes]) -> str:
    """The id of a read, which no caller can choose; where the request id is new, the same one."""
    own = headers.get(b"x-request-id")
    return new_request_id() if own == request_id.encode() else request_id


def new_request_id() -> str:
    """A UUID of version 7, which sorts by time to a quarter of a microsecond.

    Not the uuid6 package: with cold caches, as in an idle service, it takes twice as long
    (python -m loadtest bench --parts latency). An id is no secret, so its random bits come from
    Python's generator, which saves a system call for each request.

    Source:
        RFC 9562, 5.7 and 6.2, method 3: 48 bits of milliseconds, 12 of their fraction, 62 random.
    """
    milliseconds, rest_ns = divmod(time.time_ns(), _NS_PER_MS)
    fraction = (rest_ns << 12) // _NS_PER_MS
    noise = random.getrandbits(_RANDOM_BITS)
    bits = milliseconds << 80 | _VERSION_7 | fraction << 64 | _VARIANT | noise
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
