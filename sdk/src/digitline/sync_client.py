"""The client for programs without an event loop: the same calls, run by a thread of its own."""

import os
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx

from digitline.answers import CodeReading, FieldReading, Reading, StoredLabel
from digitline.async_client import Fallback, How, Label, read_locally
from digitline.core import LABEL_DEADLINE_S, Core
from digitline.exceptions import ClientClosed, DeadlineExceeded, Unanswered
from digitline.loop_thread import LoopThread
from digitline.time_limits import TimeLimits

_LATE_S: Final = 0.002  # the loop may be late by so much before the waiting thread gives up

Result = TypeVar("Result")


class Digitline:
    """Reads crops in time. Make one for the life of the program; any thread may use it.

    After a fork the child gets connections of its own at its first call.

    Args:
        url: of the service, such as `https://digits.example`.
        key: of this site; None: the service asks for none.
        deadline_ms: from a call to its answer or its error, over all tries.
        bundle_ms: how long a read waits for those of other threads, to be sent together; None: it
            is sent at once.
        fallback: reads a crop that the service did not answer in time. It runs in the calling
            thread, and its usual time is kept free before the deadline.
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
        self._make_core = partial(Core, url, key, bundle_ms=bundle_ms, transport=transport)
        self._fallback = fallback
        self._is_closed = False
        # A child's copies of the parent's loop and sockets are kept and never touched: to close
        # them would disturb the parent's.
        self._of_parents: list[object] = []
        self._start()

    def read(self, crop: bytes, *, letter_deadline_ms: int | None = None) -> Reading:
        """Read one crop; as `AsyncDigitline.read`."""
        begun = time.monotonic()
        deadline = self._limits.network_deadline(begun)
        try:
            return self._run(
                lambda core: core.read(
                    crop, begun=begun, deadline=deadline, letter_deadline_ms=letter_deadline_ms
                ),
                deadline,
            )
        except Unanswered as error:
            if self._fallback is None:
                raise
            return read_locally(self._fallback, crop, error, self._limits, begun)

    def read_postcode(self, crops: Sequence[bytes], *, pattern: str | None = None) -> CodeReading:
        """Read 2 to 12 crops in order as one code; as `AsyncDigitline.read_postcode`."""
        begun = time.monotonic()
        deadline = begun + self._limits.deadline_s
        return self._run(
            lambda core: core.read_postcode(crops, pattern, begun=begun, deadline=deadline),
            deadline,
        )

    def read_field(
        self,
        image: bytes,
        *,
        digits: int | tuple[int, int] | None = None,
        pattern: str | None = None,
    ) -> FieldReading:
        """Read the image of a whole field as one code; as `AsyncDigitline.read_field`."""
        begun = time.monotonic()
        deadline = begun + self._limits.deadline_s
        return self._run(
            lambda core: core.read_field(image, digits, pattern, begun=begun, deadline=deadline),
            deadline,
        )

    def label(
        self, read_id: str, crop_index: int, label: Label, *, who: str, how: How = "keyed"
    ) -> StoredLabel:
        """Store what a person keyed; as `AsyncDigitline.label`."""
        deadline = time.monotonic() + LABEL_DEADLINE_S
        return self._run(
            lambda core: core.label(
                read_id, crop_index, label, who=who, how=how, deadline=deadline
            ),
            deadline,
        )

    def close(self) -> None:
        """Close all connections; calls that wait in other threads raise ClientClosed."""
        if not self._is_closed and self._pid == os.getpid():
            self._forgotten.detach()
            self._loop.stop(self._core.aclose())
        self._is_closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._core = self._make_core()
        self._loop = LoopThread()
        self._pid = os.getpid()
        # Who makes a client for each letter and closes none would run out of threads.
        self._forgotten = weakref.finalize(self, _abandon, self._loop, self._core, self._pid)
        self._forgotten.atexit = False

    def _run(self, call: Callable[[Core], Coroutine[Any, Any, Result]], deadline: float) -> Result:
        if self._is_closed:
            raise ClientClosed("the client is closed; make a new one")
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    self._of_parents += [self._core, self._loop]
                    self._start()
        try:
            return self._loop.run(call(self._core), deadline + _LATE_S)
        except TimeoutError:
            raise DeadlineExceeded(
                "no answer within the deadline, and the client's thread got no processor time "
                "to say so; give it more, or allow more with deadline_ms",
                num_sent=1,  # perhaps
            ) from None


def _abandon(loop: LoopThread, core: Core, pid: int) -> None:
    """End the thread and the connections of a client that is garbage; not those of a parent."""
    if os.getpid() == pid:
        loop.abandon(core.aclose())
