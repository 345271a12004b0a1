"""Reads that begin within a millisecond, in one request. Knows nothing about HTTP."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from digitline.answers import Reading
from digitline.exceptions import DigitlineError, Unanswered

MOST_CROPS: Final = 256  # of one form (docs/api.md)
MOST_BYTES: Final = 4_000_000  # half of the service's limit

Outcome = Reading | DigitlineError


@dataclass(frozen=True, slots=True)
class _Waiting:
    crop: bytes
    begun: float
    deadline: float
    reading: asyncio.Future[Reading]


@dataclass(frozen=True, slots=True)
class Bundle:
    """Crops that are sent together."""

    crops: Sequence[bytes]
    begun: Sequence[float]  # of each read, on the loop's clock
    deadline: float  # the earliest of them


class Bundler:
    """Collects reads and sends them together.

    Args:
        send: reads a bundle; returns an outcome for each crop, in order.
        wait_s: how long the first read of a bundle waits for others.
    """

    def __init__(
        self, send: Callable[[Bundle], Awaitable[Sequence[Outcome]]], wait_s: float
    ) -> None:
        self._send = send
        self._wait_s = wait_s
        self._waiting: list[_Waiting] = []
        self._num_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._sending: set[asyncio.Task[None]] = set()

    async def read(self, crop: bytes, *, begun: float, deadline: float) -> Reading:
        """The reading of a crop, with others.

        Raises:
            DigitlineError: of this crop, or of the request that carried it.
        """
        loop = asyncio.get_running_loop()
        if self._num_bytes + len(crop) > MOST_BYTES:
            self._flush()
        one = _Waiting(crop, begun, deadline, loop.create_future())
        self._waiting.append(one)
        self._num_bytes += len(crop)
        if len(self._waiting) == MOST_CROPS:
            self._flush()
        elif self._timer is None:
            self._timer = loop.call_later(self._wait_s, self._flush)
        return await one.reading

    async def aclose(self) -> None:
        """Cancel the reads that wait, sent or not."""
        for one in self._waiting:
            one.reading.cancel()
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        together, self._waiting, self._num_bytes = self._waiting, [], 0
        together = [one for one in together if not one.reading.done()]  # its caller gave up
        if together:
            task = asyncio.create_task(self._send_all(together))
            self._sending.add(task)
            task.add_done_callback(partial(self._end, together))

    async def _send_all(self, together: list[_Waiting]) -> None:
        bundle = Bundle(
            [one.crop for one in together],
            [one.begun for one in together],
            min(one.deadline for one in together),
        )
        outcomes: Sequence[Reading | Exception]
        try:
            outcomes = await self._send(bundle)
        except Exception as error:  # noqa: BLE001  each of the callers gets it
            if isinstance(error, Unanswered) and len(together) > 1:
                error.sent_key = None  # a crop sent alone later is another request
            outcomes = [error] * len(together)
        for one, outcome in zip(together, outcomes, strict=True):
            if one.reading.done():
                continue
            if isinstance(outcome, Exception):
                one.reading.set_exception(outcome)
            else:
                one.reading.set_result(outcome)

    def _end(self, together: list[_Waiting], task: asyncio.Task[None]) -> None:
        """Leave nobody waiting, also if the task was cancelled before it began."""
        self._sending.discard(task)
        for one in together:
            one.reading.cancel()  # without effect on those that have ended
