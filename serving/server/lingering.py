"""Closes an answered connection without losing the answer on its way to the client.

If a socket is closed while the client still sends, the kernel answers its bytes with a reset, and
the client's kernel then discards the answer that it has received. So the sending half is closed
first, and what the client still sends is read and discarded, within limits.

Source:
    RFC 9112, 9.6.
"""

from asyncio import Protocol, Transport
from collections.abc import Callable
from typing import Final

MAX_DISCARDED_BYTES: Final = 16_000_000  # twice the largest body
DEADLINE_S: Final = 5.0
SILENT_S: Final = 1.0  # without a byte; measured at the sweep once a second


class LingeringClose(Protocol):
    """Takes over an answered connection: half-closes it, then discards what comes.

    Args:
        transport: its write buffer is empty.
        now: loop time.
        on_lost: called when the connection is closed.
    """

    def __init__(
        self, transport: Transport, now: float, on_lost: Callable[[Exception | None], None]
    ) -> None:
        self._transport = transport
        self._since = self._heard_at = now
        self._has_news = False
        self._left = MAX_DISCARDED_BYTES
        self._on_lost = on_lost
        transport.set_protocol(self)
        transport.write_eof()

    def data_received(self, data: bytes) -> None:
        """Discard bytes."""
        self._has_news = True
        self._left -= len(data)
        if self._left < 0:
            self._transport.abort()

    def eof_received(self) -> None:
        """The client has sent everything; the transport closes itself."""

    def is_overdue(self, now: float) -> bool:
        """Whether the client takes too long to close its end."""
        if self._has_news:
            self._has_news, self._heard_at = False, now
        return now - self._since > DEADLINE_S or now - self._heard_at > SILENT_S

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the connection that this one took over."""
        self._on_lost(exc)
