"""Connections that a cancelled request leaves in httpx's pool, where no other request gets them.

httpcore 1.0.9 gives a connection to a request before the request uses it. Cancelled in between, as
a read is at its deadline, the connection is neither idle nor closed for ever and keeps its place;
100 of these shut the client out (encode/httpcore, issue 1093).
"""
# ruff: noqa: SLF001  httpx shows its pool to nobody

from contextlib import suppress
from typing import Any

import httpx


async def close_orphans(http: httpx.AsyncClient) -> None:
    """Close each connection of the pool that is in use, but by no request, and free its place."""
    for transport in {http._transport, *http._mounts.values()}:  # one for each proxy
        with suppress(AttributeError):  # of a test, for NO_PROXY, or another version's names
            await _close_orphans_of(transport._pool)  # type: ignore[union-attr]


async def _close_orphans_of(pool: Any) -> None:
    in_use = {id(request.connection) for request in pool._requests}
    orphans = [
        connection
        for connection in pool.connections
        if not (id(connection) in in_use or connection.is_idle() or connection.is_closed())
    ]
    for connection in orphans:
        pool._connections.remove(connection)
    closing = pool._assign_requests_to_connections() if orphans else []
    await pool._close_connections(orphans + closing)
