"""Crops -> readings, and which ink each answer depends on. For people who try the service out.

An explanation takes about a hundred inferences. So it is made in pieces, each in its sender's turn
on the model's thread and only while no crop is read or waits; there is one at a time in a process.
The crops are read as all others are, but they are no mail: nothing of them is recorded or counted.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.errors import CropError
from model.occlusion import Occlusion
from serving.messages import Reading, Request
from serving.problems import Overloaded, Problem
from serving.reading.crop_cost import CROP_S
from serving.reading.field_reader import FieldQuery, FieldRead, FieldReader
from serving.reading.reader import Reader
from serving.served_model import ServedModel

STEP_PX: Final = 2  # between the patches
PIECE: Final = 16  # inferences in one turn: 1.3 ms, which a crop that arrives meanwhile may wait
_BUSY_WAIT_S: Final = 0.002


class Explained(NamedTuple):
    """A reading, and what it depends on."""

    reading: Reading
    lost: NDArray[np.float64] | None  # (28, 28), confidence lost; None: blank, or no time


class Explainer:
    """Explains the crops of one request at a time.

    Args:
        reader: reads the crops, and has the turns.
        fields: reads whole fields.
        patience_s: from the start to the last piece; well below the request's deadline.
    """

    def __init__(self, reader: Reader, fields: FieldReader, patience_s: float) -> None:
        self._reader = reader
        self._fields = fields
        self._patience_s = patience_s
        self._is_explaining = False

    async def explain(
        self, sources: Sequence[bytes], request: Request
    ) -> list[Explained | CropError]:
        """Read a few crops in order, and explain them as far as there is time.

        Returns:
            An explanation, or the error of a crop that cannot be read.

        Raises:
            Problem: 429, another explanation is being made.
            Overloaded: scanners need the model all the time.
            ModelError: the model failed.
        """
        async with self._alone() as give_up:
            return [
                one
                if isinstance(one, CropError)
                else Explained(one, await self._lost(one, request, give_up))
                for one in await self._reader.read_many(sources, request, is_mail=False)
            ]

    async def explain_field(
        self, source: bytes, request: Request, query: FieldQuery
    ) -> tuple[FieldRead, list[Explained]]:
        """Read a field, and explain each digit as far as there is time.

        Raises:
            CropError: the file cannot be read.
            Exception: as `explain` does.
        """
        async with self._alone() as give_up:
            read = await self._fields.read(source, request, query, is_mail=False)
            readings = read.readings if read.code.digits else ()
            return read, [
                Explained(one, await self._lost(one, request, give_up)) for one in readings
            ]

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[float]:
        """Explain one request at a time, while no crop is read or waits; until when it may."""
        if self._is_explaining:
            raise Problem(
                429,
                "another explanation is being made, and there is one at a time; try again",
                retry_after_s=1.0,
            )
        self._is_explaining = True
        try:
            give_up = time.monotonic() + self._patience_s
            if not await self._has_time(give_up):
                raise Overloaded(
                    "scanners' crops left no time for an explanation within "
                    f"{self._patience_s:.1f} s; try again, or send the crop to /v1/digit",
                    2.0,
                )
            yield give_up
        finally:
            self._is_explaining = False

    async def _lost(
        self, reading: Reading, request: Request, give_up: float
    ) -> NDArray[np.float64] | None:
        if reading.image is None:
            return None
        occlusion = Occlusion(reading.image, STEP_PX)
        logits: list[NDArray[np.float32]] = []
        for start in range(0, len(occlusion), PIECE):
            if not await self._has_time(give_up):
                return None
            infer = partial(_infer, request.model, occlusion, start)
            logits.append(await self._reader.in_turn(infer, request, PIECE * CROP_S))
        return occlusion.lost(np.concatenate(logits), request.model.policy.temperature)

    async def _has_time(self, give_up: float) -> bool:
        """Wait until no crop is read or waits; false if it is too late for more work."""
        while time.monotonic() < give_up:
            if self._reader.is_idle():
                return True
            await asyncio.sleep(_BUSY_WAIT_S)
        return False


def _infer(model: ServedModel, occlusion: Occlusion, start: int) -> NDArray[np.float32]:
    """The logits of one piece. Runs on the model's thread."""
    return model.classifier(occlusion.images(start, start + PIECE)).logits
