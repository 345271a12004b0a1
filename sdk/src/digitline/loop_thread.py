"""An event loop in a thread of its own, for callers that have none. Safe from many threads."""

import asyncio
import contextlib
import sys
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
        self._thread = threading.Thread(target=self._work, name="digitline", daemon=True)
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
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # stopped since the line above
            coroutine.close()
            raise ClientClosed("the client was closed during the call; make a new one") from None
        try:
            return future.result(max(0.0, until - time.monotonic()))
        except CancelledError:
            raise ClientClosed("the client was closed during the call; make a new one") from None
        finally:
            future.cancel()  # without effect on one that has ended

    def stop(self, last: Coroutine[Any, Any, None]) -> None:
        """Cancel what runs, run `last`, end the thread."""
        if self._is_stopped or sys.is_finalizing():  # then the thread runs no more
            last.close()
            return
        self._is_stopped = True
        ended = asyncio.run_coroutine_threadsafe(_end(last), self._loop)
        with contextlib.suppress(TimeoutError):
            ended.result(STOP_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_S)

    def abandon(self, last: Coroutine[Any, Any, None]) -> None:
        """As `stop`, without waiting: for a garbage collection, which may be in any thread."""
        if self._is_stopped or sys.is_finalizing():
            last.close()
            return
        self._is_stopped = True

        async def end() -> None:
            await _end(last)
            self._loop.stop()

        asyncio.run_coroutine_threadsafe(end(), self._loop)

    def _work(self) -> None:
        self._loop.run_forever()
        self._loop.run_until_complete(_cancel_others())  # of threads that did not see the end
        self._loop.close()


async def _end(last: Coroutine[Any, Any, None]) -> None:
    await _cancel_others()
    await last


async def _cancel_others() -> None:
    own = asyncio.current_task()
    while others := [task for task in asyncio.all_tasks() if task is not own]:
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
