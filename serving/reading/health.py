"""Readiness: the reasons why requests should not be sent to this process."""

import asyncio
import os
import time
from collections.abc import Callable
from typing import Final, Protocol

from model.errors import ModelError
from serving.problems import Overloaded

GOLDEN_TIMEOUT_S: Final = 1.0
GOLDEN_FRESH_S: Final = 0.25  # a golden crop at most this often, however often readiness is polled
HUNG_AFTER_S: Final = 5.0  # then a batch is taken as hung; a normal one takes milliseconds


class GoldenReader(Protocol):
    """What answers requests, and the model's golden crop, whose answer is known."""

    def busy_for_s(self) -> float:
        """How long it has been busy with one batch."""

    async def read_golden(self) -> None:
        """Answer the golden crop on the path of requests. Raises ModelError, Overloaded."""


class Recorder(Protocol):
    """What records answers."""

    def writable(self) -> bool:
        """Whether the next record could be written."""


class Champion(Protocol):
    """What follows the champion."""

    @property
    def refused(self) -> str | None:
        """Why what is at its source now is not in service; None: it is."""


class Health:
    """Collects the reasons why this process is not ready.

    Args:
        reader: reads the golden crop.
        capture: must be able to write its spool.
        champion: tells whether what would be loaded at a restart is fit.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        reader: GoldenReader,
        capture: Recorder,
        champion: Champion,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.is_draining = False
        self._reader = reader
        self._capture = capture
        self._champion = champion
        self._clock = clock
        self._golden: asyncio.Future[str | None] | None = None
        self._golden_asked = 0.0

    async def reasons_not_ready(self) -> list[str]:
        """Why requests should go elsewhere; empty when this process is ready."""
        reasons = []
        if self.is_draining:
            reasons.append("draining: this process is stopping")
        if not self._capture.writable():
            reasons.append("the capture spool cannot be written; check its disk")
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            reasons.append(f"no file can be opened: {error}")
        if self._champion.refused is not None:
            reasons.append(self._champion.refused)
        model_reason = await self._check_model()
        if model_reason is not None:
            reasons.append(model_reason)
        return reasons

    def model_busy_s(self) -> float:
        """How long the model has been busy with one batch."""
        return self._reader.busy_for_s()

    async def _check_model(self) -> str | None:
        busy_s = self._reader.busy_for_s()
        if busy_s > HUNG_AFTER_S:
            return f"the model has been busy with one batch for {busy_s:.1f} s"
        now = self._clock()
        if self._golden is None or (
            self._golden.done() and now - self._golden_asked >= GOLDEN_FRESH_S
        ):
            self._golden_asked = now
            self._golden = asyncio.ensure_future(self._read_golden())
        return await asyncio.shield(self._golden)

    async def _read_golden(self) -> str | None:
        """Why the golden crop is not read correctly; None if it is. Callers share one reading."""
        try:
            async with asyncio.timeout(GOLDEN_TIMEOUT_S):
                await self._reader.read_golden()
        except Overloaded:
            return None  # overload is no fault: to remove a busy task would overload the others
        except TimeoutError:
            return f"the golden crop was not read within {GOLDEN_TIMEOUT_S:g} s"
        except ModelError as error:
            return str(error)
        return None
