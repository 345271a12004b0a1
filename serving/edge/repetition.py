"""Requests that a client sends again: recorded once, and counted.

A client that gets no answer in time sends the same request again, often to another task. Both may
be read. `Idempotency-Key` gives both records one read id, and every reader of records keeps one of
them (docs/monitoring.md). Knows nothing about what a request asks for.
"""

import hashlib
import re
import time
import zlib
from collections.abc import Mapping
from typing import Final, Literal

KEY_HEADER: Final = b"idempotency-key"
ATTEMPT_HEADER: Final = b"x-attempt"
# A record is looked up by its read id's time, within five minutes (capture/look_up.py). A read that
# was sent, and whose sender was killed, may be sent again as long as this.
MAX_KEY_AGE_S: Final = 180
MAX_KEY_AHEAD_S: Final = 60  # a sender's clock that is wrong
_UUID7: Final = re.compile(
    rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE
)
_NUM_CHECKED_BYTES: Final = 16_384  # at most 20 us of CRC; a longer body adds its length
_KINDS: Final[dict[bytes, Literal["retry", "hedge"]]] = {b"retry": "retry", b"hedge": "hedge"}


def repeated_read_id(headers: Mapping[bytes, bytes], site: str, body: bytes) -> str | None:
    """The read id of a request with an idempotency key: the same for the same request again.

    A version 7 UUID with the key's own time. The rest is a hash of site, key and body, so that no
    caller can choose the id of another site's read, and another crop under the same key is
    another read.

    Returns:
        None: there is no key, it is no version 7 UUID in lower or upper case, or its time is more
        than 180 s ago or 60 s ahead. Then the request is a read of its own.
    """
    key = headers.get(KEY_HEADER)
    if key is None or _UUID7.fullmatch(key) is None:
        return None
    time_ms = int(key[:8] + key[9:13], 16)
    age_s = time.time() - time_ms / 1e3
    if not -MAX_KEY_AHEAD_S <= age_s <= MAX_KEY_AGE_S:
        return None
    crc = zlib.crc32(memoryview(body)[:_NUM_CHECKED_BYTES])
    facts = b"%b\0%b\0%d\0%d" % (site.encode(), key.lower(), len(body), crc)
    digest = hashlib.sha256(facts).hexdigest()
    variant = "89ab"[int(digest[3], 16) & 3]
    times = key[:13].decode().lower()
    return f"{times}-7{digest[:3]}-{variant}{digest[4:7]}-{digest[7:19]}"


def attempt_kind(headers: Mapping[bytes, bytes]) -> Literal["retry", "hedge"] | None:
    """Why the client says that it sends this request again; None: it does not say so."""
    return _KINDS.get(headers.get(ATTEMPT_HEADER, b""))
