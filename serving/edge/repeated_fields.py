"""Header fields that mean one thing only: sent twice with two values, the request is ambiguous.

A proxy and this service might believe different ones. Host and the fields that frame the body are
checked in serving/server/request_head.py.

Source:
    RFC 9110, 5.3: a sender must not repeat a field that is no list.
"""

from collections.abc import Iterable
from typing import Final

from serving.problems import Problem

_SINGLE: Final = frozenset(
    (
        b"authorization", b"x-api-key", b"content-type", b"content-encoding", b"idempotency-key",
        b"x-request-id", b"x-attempt", b"x-deadline-ms", b"origin",
        b"inference-header-content-length",
    )
)  # fmt: skip


def check_repeated(fields: Iterable[tuple[bytes, bytes]]) -> None:
    """Refuse a field that must be there once and has two values.

    Args:
        fields: names in lower case, and values.

    Raises:
        Problem: 400.
    """
    known: dict[bytes, bytes] = {}
    for name, value in fields:
        if name in _SINGLE and known.setdefault(name, value) != value:
            raise Problem(
                400,
                f"the request has two {name.decode('ascii')} headers with different values; "
                "send one",
                closes_connection=True,
            )
