"""Crops -> readings, and which ink each answer depends on. For people who try the service out.

An explanation takes some hundred inferences. So it is made in pieces, each in its sender's turn on
the model's thread and only while no crop is read or waits; there is one at a time in a process. The
crops are read as all others are, but they are no mail: nothing of them is recorded or counted.
"""

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.errors import CropError
from model.occlusion import Occlusion
from serving.messages import Reading, Request
from serving.problems import Overloaded, Problem
from serving.reading.crop_cost import CROP_S
from serving.reading.reader import Reader
from serving.served_model import ServedModel

PIECE: Final = 16  # inferences in one turn: 1.3 ms, which a crop that arrives meanwhile may wait
PATIENCE_S: Final = 1.0  # to wait for free time in all, well below the request's deadline
_BUSY_WAIT_S: Final = 0.002


class Explained(NamedTuple):
    """A reading, and what it depends on."""

    reading: Reading
    lost: NDArray[np.float64] | None  # (28, 28), confidence lost without the ink; None: blank


class Explainer:
    """Explains the crops of one request at a time.

    Args:
        reader: reads the crops, and has the turns.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._is_explaining = False

    async def explain(
        self, sources: Sequence[bytes], request: Request
    ) -> list[Explained | CropError]:
        """Read and explain a few crops in order; one that cannot be read has an error there.

        Raises:
            Problem: 429, another explanation is being made.
            Overloaded: scanners need the model.
            ModelError: the model failed.
        """
        if self._is_explaining:
            raise Problem(
                429,
                "another explanation is being made, and there is one at a time; try again",
                retry_after_s=1.0,
            )
        self._is_explaining = True
        try:
            return await self._explain(sources, request)
        finally:
            self._is_explaining = False

    async def _explain(
        self, sources: Sequence[bytes], request: Request
    ) -> list[Explained | CropError]:
        give_up = time.monotonic() + PATIENCE_S
        await self._wait_until_idle(give_up)
        explained: list[Explained | CropError] = []
        for one in await self._reader.read_many(sources, request, is_mail=False):
            if isinstance(one, CropError):
                explained.append(one)
            else:
                explained.append(Explained(one, await self._lost(one, request, give_up)))
        return explained

    async def _lost(
        self, reading: Reading, request: Request, give_up: float
    ) -> NDArray[np.float64] | None:
        if reading.image is None:
            return None
        occlusion = Occlusion(reading.image)
        logits: list[NDArray[np.float32]] = []
        for start in range(0, len(occlusion), PIECE):
            await self._wait_until_idle(give_up)
            infer = partial(_infer, request.model, occlusion, start)
            logits.append(await self._reader.in_turn(infer, request, PIECE * CROP_S))
        return occlusion.lost(np.concatenate(logits), request.model.policy.temperature)

    async def _wait_until_idle(self, give_up: float) -> None:
        """Return while no crop is read or waits.

        Raises:
            Overloaded: there was no such moment.
        """
        while not self._reader.is_idle():
            if time.monotonic() > give_up:
                raise Overloaded(
                    f"scanners' crops left no time to explain one within {PATIENCE_S:.0f} s; "
                    "try again, or send it to /v1/digit",
                    2.0,
                )
            await asyncio.sleep(_BUSY_WAIT_S)


def _infer(model: ServedModel, occlusion: Occlusion, start: int) -> NDArray[np.float32]:
    """The logits of one piece. Runs on the model's thread."""
    return model.classifier(occlusion.images(start, start + PIECE)).logits
