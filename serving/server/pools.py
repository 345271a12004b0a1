"""What all connections of a worker share, and how much of it the connections of one address get."""

import resource
from collections.abc import Hashable
from typing import Final

from serving.edge.sender import TrustedProxies, is_trusted_peer, sender_of
from serving.shares import SharedPool

RESERVED_FILES: Final = 64  # not for connections: model, spool, keys, /proc
MAX_CONNECTIONS: Final = 8192  # a container's limit of open files is often a million
MAX_WAITING_BYTES: Final = 64_000_000  # unread answers, and requests that wait behind them
MAX_LINGERING: Final = 1024  # connections that are answered and wait for the client's end


class Pools:
    """The shared pools of one worker.

    Args:
        trusted: proxies. All senders come on a proxy's address, so each of its connections counts
            as a sender: together they may hold all.
    """

    def __init__(self, trusted: TrustedProxies) -> None:
        self._trusted = trusted
        self.connections = SharedPool(max_connections())
        self.waiting_bytes = SharedPool(MAX_WAITING_BYTES)
        self.lingering = SharedPool(MAX_LINGERING)

    def sender_of(self, peer: str, connection: Hashable) -> Hashable:
        """What a connection is counted by."""
        if is_trusted_peer(peer, self._trusted):
            return connection
        return sender_of(peer, b"", self._trusted)


def max_connections() -> int:
    """How many connections leave RESERVED_FILES for the rest of the process."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVED_FILES
    return max(min(files, MAX_CONNECTIONS), 1)


def raise_file_limit() -> None:
    """Raise the soft limit of open files to the hard limit: shells and containers set it lower."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
