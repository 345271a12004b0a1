"""The client for programs with an event loop."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType
from typing import Final, Literal, Self

import httpx

from digitline.answers import CodeReading, FieldReading, Reading, StoredLabel
from digitline.core import LABEL_DEADLINE_S, Core
from digitline.exceptions import ClientClosed, Unanswered
from digitline.time_limits import TimeLimits

Fallback = Callable[[bytes, Unanswered], Reading]  # the crop, and why there is no answer
Label = Literal[0, 1, 2, 3, 4, 5, 6, 7, 8, 9] | Literal["not_a_digit", "unreadable"]
How = Literal["keyed", "audit", "import"]

_MOST_LOCAL: Final = 8  # local reads at a time; one takes some milliseconds of a core


class AsyncDigitline:
    """Reads crops in time. Make one for the life of the program, and use it from one event loop.

    Args:
        url: of the service, such as `https://digits.example`.
        key: of this site; None: the service asks for none.
        deadline_ms: from a call to its answer or its error, over all tries.
        bundle_ms: how long a read waits for others, to be sent together; None: it is sent at once.
        fallback: reads a crop that the service did not answer in time. It runs in a thread, and
            its usual time is kept free before the deadline.
        transport: in place of the network, for tests.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        deadline_ms: float = 150,
        bundle_ms: float | None = None,
        fallback: Fallback | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._limits = TimeLimits(deadline_ms, has_fallback=fallback is not None)
        self._core = Core(url, key, bundle_ms=bundle_ms, transport=transport)
        self._fallback = fallback
        # The loop's own threads may all wait for a name server that does not answer.
        self._threads = ThreadPoolExecutor(_MOST_LOCAL, thread_name_prefix="digitline")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    async def read(self, crop: bytes, *, letter_deadline_ms: int | None = None) -> Reading:
        """Read one crop.

        Args:
            crop: the file, PNG or JPEG.
            letter_deadline_ms: how long the letter waits on the belt, so that people key it first
                if it is rejected (`X-Deadline-Ms`). Such a read is never bundled.

        Raises:
            Unanswered: the service did not answer in time, and there is no fallback.
            Refused: the crop cannot be read, or the key is refused.
        """
        begun = self._begin()
        deadline = self._limits.network_deadline(begun)
        try:
            return await self._core.read(
                crop, begun=begun, deadline=deadline, letter_deadline_ms=letter_deadline_ms
            )
        except Unanswered as error:
            if self._fallback is None:
                raise
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, read_locally, self._fallback, crop, error, self._limits, begun
            )

    async def read_postcode(
        self, crops: Sequence[bytes], *, pattern: str | None = None
    ) -> CodeReading:
        """Read 2 to 12 crops in order as one code.

        Args:
            crops: the files.
            pattern: a regular expression that the whole code matches.

        Raises:
            DigitlineError: as `read`; a code has no fallback.
        """
        begun = self._begin()
        deadline = begun + self._limits.deadline_s
        return await self._core.read_postcode(crops, pattern, begun=begun, deadline=deadline)

    async def read_field(
        self,
        image: bytes,
        *,
        digits: int | tuple[int, int] | None = None,
        pattern: str | None = None,
    ) -> FieldReading:
        """Read the image of a whole field as one code.

        Args:
            image: the file, PNG or JPEG.
            digits: how many the field has, or (least, most); None: what the service knows.
            pattern: a regular expression that the whole code matches.

        Raises:
            DigitlineError: as `read`; a field has no fallback.
        """
        begun = self._begin()
        deadline = begun + self._limits.deadline_s
        return await self._core.read_field(image, digits, pattern, begun=begun, deadline=deadline)

    async def label(
        self, read_id: str, crop_index: int, label: Label, *, who: str, how: How = "keyed"
    ) -> StoredLabel:
        """Store what a person keyed; within 5 s, because no letter waits for it.

        Args:
            read_id: of the answer.
            crop_index: of the answer; 0 for a crop that was read alone.
            label: what the crop shows.
            who: the person.
            how: "audit": the crop is in the audit sample.

        Raises:
            DigitlineError: the label may not be on disk.
        """
        deadline = self._begin() + LABEL_DEADLINE_S
        return await self._core.label(
            read_id, crop_index, label, who=who, how=how, deadline=deadline
        )

    async def aclose(self) -> None:
        """Close all connections; calls that still wait are cancelled."""
        if not self._is_closed:
            self._is_closed = True
            self._threads.shutdown(wait=False)
            await self._core.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _begin(self) -> float:
        if self._is_closed:
            raise ClientClosed("the client is closed; make a new one")
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise RuntimeError(
                "this client has connections of another event loop; make one for each asyncio.run"
            )
        return loop.time()


def read_locally(
    fallback: Fallback, crop: bytes, error: Unanswered, limits: TimeLimits, begun: float
) -> Reading:
    """Read without the service, and learn how long that takes; `begun`: the call."""
    left = time.monotonic()
    try:
        reading = fallback(crop, error)
    finally:
        limits.on_fallback(time.monotonic() - left)
    return replace(reading, took_ms=(time.monotonic() - begun) * 1e3)
