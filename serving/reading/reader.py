"""Crops -> readings: decode, frame, batch, infer, decide. Every route reads on this path.

An error of one crop is found before inference and fails that crop alone. All of this runs on the
batcher's thread, so the event loop stays free to refuse requests that would be answered too late.
A crop that is costly to decode is first decoded and framed on a thread of its own, so that it
delays no batch. A crop that its batch had no time to frame is submitted again.
"""

import time
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Final, TypeVar

from model.errors import CropError
from serving.config import Settings
from serving.messages import BULK, BatchStats, Reading, Request
from serving.reading.batch_reading import (
    ReadRequest,
    check_golden,
    check_golden_reading,
    held,
    read_batch,
    read_by_model,
)
from serving.reading.batcher import Batcher
from serving.reading.crop_cost import COSTLY_S, CROP_S, LATER_S, Source, cost_s, pieces
from serving.reading.preparing import NotFramed, Prepared, prepare
from serving.served_model import ServedModel

Value = TypeVar("Value")

CHUNK: Final = 32  # the most crops of a bulk request in one batch
_TIMED_BATCHES: Final = 3  # per batch size
_LARGE_PX: Final = 65_536  # such a crop of a bulk request is released once its record is made
_HEALTH: Final = "health"  # the sender of the golden crop: it waits behind nobody's queue


PersistBatch = Callable[
    [Sequence[ReadRequest], Sequence["Reading | Exception"]], dict[int, Exception]
]


class Reader:
    """Reads crops, each with the model that its request came to.

    `model` is the one in force. To assign another exchanges it for the requests that arrive from
    then on; check it with `check_golden` first.

    Args:
        model: the verified champion.
        settings: batch size, queue limit and longest wait are used.
        on_batch: called on the event loop after each batch.
        persist: writes a batch's readings to disk, before any caller is answered. Returns an error
            for each place in the batch that must not be answered with a reading.
        on_hold: the sites whose reads are not accepted; changes while the reader runs.

    Raises:
        ModelError: the model does not run, or misreads the golden crop.
    """

    def __init__(
        self,
        model: ServedModel,
        settings: Settings,
        on_batch: Callable[[BatchStats], None],
        persist: PersistBatch,
        on_hold: Collection[str] = (),
    ) -> None:
        self.model = model
        self._persist = persist
        self._on_hold = on_hold
        self._batcher = Batcher[ReadRequest, Reading](
            self._read_and_persist,
            name="model",
            max_batch_size=settings.max_batch_size,
            queue_limit=settings.queue_limit,
            max_wait_s=settings.max_queue_wait_ms / 1e3,
            on_batch=on_batch,
        )
        self._costly = Batcher[Source, Prepared](
            _prepare_costly,
            name="costly crops",
            max_batch_size=1,
            queue_limit=settings.queue_limit,
            max_wait_s=settings.max_queue_wait_ms / 1e3,
            on_batch=_ignore,
        )
        self._chunk = min(CHUNK, settings.max_batch_size)
        check_golden(model)
        self._prime_time_estimate()

    @property
    def num_queued(self) -> int:
        """Crops in the queue now."""
        return self._batcher.num_queued

    def is_idle(self) -> bool:
        """Whether no crop is being read, or waits; for work that must not delay one."""
        return not self._batcher.num_queued and not self.busy_for_s()

    def busy_for_s(self) -> float:
        """How long the running batch, or costly crop, has been running; 0 when both are free."""
        return max(self._batcher.running_for_s(), self._costly.running_for_s())

    def close(self) -> None:
        """Stop both threads after what they run."""
        self._batcher.close()
        self._costly.close()

    async def read(self, source: Source, request: Request | None = None) -> Reading:
        """Read one crop, for a request or for the health check.

        Raises:
            CropError: it cannot be read.
            Overloaded: the answer would be too late.
            ModelError: the model failed on it.
            SpoolError, RecordError: its record could not be written.
        """
        sender = _HEALTH if request is None else request.sender
        crop_s = cost_s(source)
        one = ReadRequest(source, request, 0, self._model_of(request))
        if crop_s > COSTLY_S:
            self._costly.admit(1, sender, crop_s)
            outcome = await self._read_costly(one, sender, crop_s)
        else:
            self._batcher.admit(1, sender, crop_s)
            outcome = (await self._read_in_batches([one], sender, crop_s))[0]
        if isinstance(outcome, Exception):
            try:
                raise outcome
            finally:
                # Its traceback refers to this frame, and so to the body: leave no cycle.
                del outcome
        return outcome

    async def read_many(
        self,
        sources: Sequence[Source],
        request: Request | None = None,
        *,
        is_bulk: bool = False,
        is_mail: bool = True,
    ) -> list[Reading | CropError]:
        """Read many crops in order. A crop that cannot be read has an error in its place.

        Args:
            sources: the crops.
            request: that they came with.
            is_bulk: no scanner sends such requests; their records say so.
            is_mail: false: they leave no record.

        Raises:
            Overloaded: the answer would be too late.
            ModelError: the model failed on one of them.
            SpoolError, RecordError: the record of one could not be written.
        """
        sender = _HEALTH if request is None else request.sender
        if is_bulk and request is not None and request.labels is not None:
            request.labels.traffic = BULK
        model = self._model_of(request)
        readings: list[Reading | CropError] = []
        # One piece at a time: other senders run between two, and what is left of a request that
        # has ended is never run.
        for start, end, piece_s in pieces(sources, self._chunk):
            if start == 0:  # later pieces are not refused: the work so far would be lost
                (self._costly if piece_s > COSTLY_S else self._batcher).admit(end, sender, piece_s)
            piece = [
                ReadRequest(sources[place], request, place, model, is_bulk=is_bulk, is_mail=is_mail)
                for place in range(start, end)
            ]
            for outcome in await self._read_piece(piece, sender, piece_s):
                if isinstance(outcome, Exception) and not isinstance(outcome, CropError):
                    try:
                        raise outcome
                    finally:
                        del outcome  # leave no cycle, as in `read`
                readings.append(
                    without_large_crop(outcome) if isinstance(outcome, Reading) else outcome
                )
        return readings

    async def in_turn(
        self,
        function: Callable[[], Value],
        request: Request,
        function_s: float,
        *,
        is_admitted: bool = False,
    ) -> Value:
        """Run a function on the model's thread when it is the turn of the request's sender.

        For work that grows with a body. It would stop the event loop for all senders, and on a
        thread of its own it would compete for the GIL outside the fair order.

        Args:
            function: takes milliseconds.
            request: it is charged to its sender.
            function_s: predicted seconds.
            is_admitted: the request was read already, so it is not refused any more.

        Raises:
            Overloaded: the answer would be too late.
            Exception: what the function raises.
        """
        if not is_admitted:
            self._batcher.admit(0, request.sender, function_s)
        return await self._batcher.call(function, request.sender, function_s)

    async def beside(
        self,
        function: Callable[[], Value],
        request: Request,
        function_s: float,
        *,
        is_admitted: bool = False,
    ) -> Value:
        """Run a function beside the model, where costly crops are decoded, in its sender's turn.

        For work that may take tens of milliseconds.

        Raises:
            Overloaded: the answer would be too late; not if the request is admitted already.
            Exception: what the function raises.
        """
        if not is_admitted:
            self._costly.admit(0, request.sender, function_s)
        return await self._costly.call(function, request.sender, function_s)

    async def wait_turn(self, sender: Hashable, work_s: float) -> None:
        """Wait until it is a sender's turn, and charge it for work that is done elsewhere.

        Raises:
            Overloaded: the answer would be too late.
        """
        self._batcher.admit(0, sender, work_s)
        await self._batcher.call(_nothing, sender, work_s)

    async def read_golden(self) -> None:
        """Read the golden crop on the path of requests.

        Raises:
            ModelError: it is not read as it was when the model was promoted.
            Overloaded: the queue has no room for it.
        """
        model = self.model  # `read` takes the same one: nothing else runs in between
        check_golden_reading(model, await self.read(model.artifact.golden.png))

    def persisted(
        self, requests: Sequence[ReadRequest], outcomes: list[Reading | Exception]
    ) -> list[Reading | Exception]:
        """Hold the readings of sites on hold, and record them; called on the model's thread.

        Args:
            requests: of a batch, or of crops that were read in another way.
            outcomes: theirs.

        Returns:
            The outcomes; one whose record could not be written is an error.
        """
        if self._on_hold:
            outcomes = [
                held(outcome)
                if isinstance(outcome, Reading)
                and one.request is not None
                and one.request.site in self._on_hold
                else outcome
                for one, outcome in zip(requests, outcomes, strict=True)
            ]
        for place, failure in self._persist(requests, outcomes).items():
            outcomes[place] = failure
        return outcomes

    def _model_of(self, request: Request | None) -> ServedModel:
        return self.model if request is None else request.model

    async def _read_piece(
        self, piece: list[ReadRequest], sender: Hashable, piece_s: float
    ) -> list[Reading | Exception]:
        """Read some crops of a bulk request; a costly crop comes alone."""
        if len(piece) > 1 or piece_s <= COSTLY_S:
            return await self._read_in_batches(piece, sender, piece_s)
        return [await self._read_costly(piece[0], sender, piece_s)]

    async def _read_in_batches(
        self, piece: Sequence[ReadRequest], sender: Hashable, piece_s: float
    ) -> list[Reading | Exception]:
        """Read some crops in one batch; in as many as framing them takes."""
        outcomes: dict[int, Reading | Exception] = {}
        left, left_s = list(enumerate(piece)), piece_s
        while left:
            read = await self._batcher.submit([one for _, one in left], sender, left_s)
            self._batcher.charge(sender, _spent_s(read, left_s / len(left)) - left_s)
            outcomes.update(zip((place for place, _ in left), read, strict=True))
            later = [
                (place, one, outcome)
                for (place, one), outcome in zip(left, read, strict=True)
                if isinstance(outcome, NotFramed)
            ]
            left = [(place, one._replace(prepared=found.decoded)) for place, one, found in later]
            left_s = sum(CROP_S + min(found.framing_s, LATER_S) for _, _, found in later)
        return [outcomes[place] for place in range(len(piece))]

    async def _read_costly(
        self, one: ReadRequest, sender: Hashable, crop_s: float
    ) -> Reading | Exception:
        """Decode and frame one crop on the thread for costly ones, then read it with others."""
        prepared = (await self._costly.submit((one.source,), sender, crop_s))[0]
        if isinstance(prepared, Exception):
            return prepared
        self._costly.charge(sender, _spent_s([prepared], crop_s) - crop_s)
        return (await self._batcher.submit((one._replace(prepared=prepared),), sender, CROP_S))[0]

    def _prime_time_estimate(self) -> None:
        """Time single crops and chunks, so that the first burst is predicted correctly."""
        golden = self.model.artifact.golden.png
        for size in (1, self._chunk) * _TIMED_BATCHES:
            started = time.perf_counter()
            read_batch([golden] * size, self.model)
            self._batcher.learn(size * cost_s(golden), time.perf_counter() - started)

    def _read_and_persist(self, requests: Sequence[ReadRequest]) -> list[Reading | Exception]:
        """Read and persist a batch."""
        return self.persisted(requests, read_by_model(requests))


def _prepare_costly(sources: Sequence[Source]) -> list[Prepared | Exception]:
    return list(prepare(sources))


def _spent_s(outcomes: Sequence[Reading | Prepared | Exception], predicted_s: float) -> float:
    """Seconds that these crops took; a bad one counts as predicted."""
    spent_s = 0.0
    for one in outcomes:
        if isinstance(one, NotFramed):
            spent_s += one.decoded.decode_ms * 1e-3
        elif isinstance(one, Exception):
            spent_s += predicted_s
        else:
            spent_s += CROP_S + (one.decode_ms + one.preprocess_ms) * 1e-3
    return spent_s


def _nothing() -> None:
    """Charged for another reason than its own time."""


def _ignore(stats: BatchStats) -> None:
    """Costly crops are counted in the batch that they are read in."""


def without_large_crop(reading: Reading) -> Reading:
    """Release a large crop: only its record needed it, and a bulk request may hold 256."""
    if reading.crop is None or reading.crop.size < _LARGE_PX:
        return reading
    return reading._replace(crop=None)
