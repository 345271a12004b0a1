"""An event loop that remembers addresses, so that reads go on while names cannot be looked up."""

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

PATIENCE_S: Final = 0.02  # a resolver that has the name at hand answers in 1 ms

RENEW_S: Final = 1.0  # ask again: the name server may be there again

Key = tuple[Any, ...]


class NameLoop(asyncio.SelectorEventLoop):
    """Looks each name up once at a time, and falls back on its last addresses.

    A resolver that nobody answers takes seconds, each time in a thread that nothing can cancel. So
    connections that need the same name within a second wait for the same look-up. If it fails or
    lasts, they get the addresses of the last one that succeeded; new ones are used from the next
    connection on.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[Key, list[Any]] = {}
        self._looking_up: dict[Key, tuple[asyncio.Task[list[Any]], float]] = {}

    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002  the name in asyncio
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """The addresses of a name; as in asyncio.

        Raises:
            OSError: the look-up failed, and none has succeeded before.
        """
        key = (host, port, family, type, proto, flags)
        look_up, begun = self._looking_up.get(key, (None, 0.0))
        if look_up is None or self.time() - begun > RENEW_S:
            found = partial(socket.getaddrinfo, host, port, family, type, proto, flags)
            look_up = self.create_task(self._look_up(found))
            self._looking_up[key] = look_up, self.time()
            look_up.add_done_callback(partial(self._on_found, key))
        known = self._known.get(key)
        await asyncio.wait({look_up}, timeout=None if known is None else PATIENCE_S)
        if known is not None and not (look_up.done() and look_up.exception() is None):
            return known
        return look_up.result()

    async def _look_up(self, find: Callable[[], list[Any]]) -> list[Any]:
        """Run a look-up in a thread of its own.

        asyncio's pool of threads takes no work once the program's main thread has ended, also while
        other threads still read.
        """
        found: asyncio.Future[list[Any]] = self.create_future()

        def work() -> None:
            try:
                addresses, error = find(), None
            except Exception as failure:  # noqa: BLE001  who waits for it gets it
                addresses, error = [], failure
            with suppress(RuntimeError):  # the loop is closed
                self.call_soon_threadsafe(_settle, found, addresses, error)

        try:
            threading.Thread(target=work, name="digitline name", daemon=True).start()
        except RuntimeError as error:
            raise OSError(f"no thread can be started to look up a name: {error}") from error
        return await found

    def _on_found(self, key: Key, look_up: asyncio.Task[list[Any]]) -> None:
        if self._looking_up.get(key, (None,))[0] is look_up:
            del self._looking_up[key]
        if not look_up.cancelled() and look_up.exception() is None:
            self._known[key] = look_up.result()


def _settle(
    found: asyncio.Future[list[Any]], addresses: list[Any], error: Exception | None
) -> None:
    if found.done():  # cancelled
        return
    if error is None:
        found.set_result(addresses)
    else:
        found.set_exception(error)
