"""Serves an application of pages with the limits of the service's own connections.

uvicorn's own connections have no deadline for a request that never ends and no share for each
sender: a thousand half requests take every open file of a process. Knows nothing about the pages.
"""

import asyncio
from functools import partial
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from serving.edge.sender import trusted_proxies
from serving.server.connections import HttpConnection, close_slow
from serving.server.pools import Pools, raise_file_limit

_TICKS_PER_SWEEP: Final = 10  # uvicorn ticks ten times a second


def serve_pages(app: ASGIApp, *, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; arguments and errors are those of `limited_server`."""
    raise_file_limit()
    limited_server(app, host=host, port=port).run()


def limited_server(app: ASGIApp, *, host: str, port: int) -> uvicorn.Server:
    """Make the server.

    Args:
        app: its answers are complete: one start and one body.
        host: address to listen on.
        port: TCP port.

    Raises:
        ConfigError: FORWARDED_ALLOW_IPS is no list of addresses.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=partial(HttpConnection, Pools(trusted_proxies())),  # type: ignore[arg-type]
        ws="none",
        log_level="warning",
        server_header=False,
        lifespan="off",
    )
    return _LimitedServer(config)


class _LimitedServer(uvicorn.Server):
    """Closes slow connections once a second."""

    async def on_tick(self, counter: int) -> bool:
        """Uvicorn's tick; whether to stop."""
        if counter % _TICKS_PER_SWEEP == 0:
            now = asyncio.get_running_loop().time()
            close_slow(list(self.server_state.connections), now)
        return await super().on_tick(counter)
