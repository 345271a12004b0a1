"""An event loop in a thread of its own, for callers that have none. Safe from many threads."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any, Final, TypeVar

from digitline.exceptions import ClientClosed
from digitline.name_loop import NameLoop

STOP_S: Final = 5.0

Result = TypeVar("Result")


class LoopThread:
    """Runs coroutines until it is stopped. A daemon, so that it keeps no program alive."""

    def __init__(self) -> None:
        self._loop = NameLoop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="digitline", daemon=True
        )
        self._thread.start()
        self._is_stopped = False

    def run(self, coroutine: Coroutine[Any, Any, Result], until: float) -> Result:
        """The coroutine's result.

        Args:
            coroutine: cancelled if it lasts too long, or the waiting thread is interrupted.
            until: on time.monotonic(), which is the loop's clock.

        Raises:
            TimeoutError: it has none at `until`.
            ClientClosed: the loop was stopped.
        """
        if self._is_stopped:
            coroutine.close()
            raise ClientClosed("the client is closed; make a new one")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(max(0.0, until - time.monotonic()))
        except CancelledError:
            raise ClientClosed("the client was closed during the call; make a new one") from None
        finally:
            future.cancel()  # without effect on one that has ended

    def stop(self, last: Coroutine[Any, Any, None]) -> None:
        """Cancel what runs, run `last`, end the thread."""
        if self._is_stopped:
            last.close()
            return
        self._is_stopped = True
        ended = asyncio.run_coroutine_threadsafe(_end(last), self._loop)
        with contextlib.suppress(TimeoutError):
            ended.result(STOP_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_S)
        if not self._thread.is_alive():
            self._loop.close()


async def _end(last: Coroutine[Any, Any, None]) -> None:
    own = asyncio.current_task()
    others = [task for task in asyncio.all_tasks() if task is not own]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await last
