"""Items -> answers, for other models than the digit reader: batch, answer, record, then reply.

Every answer is in the spool before it is sent. Each request is answered by the model that it came
to. Knows nothing about what an item or an answer is.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from capture.answer_record import AnswerRecord, encode
from capture.frames import add_head
from capture.spool import Spool, SpoolError
from model.errors import ModelError
from serving.config import Settings
from serving.messages import BatchStats, Model, Request
from serving.reading.batcher import Batcher

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")
Value = TypeVar("Value")

_HEALTH: Final = "health"  # the sender of the golden item: it waits behind nobody's queue
_TIMED_BATCHES: Final = 3


class Recorded(NamedTuple):
    """What is recorded of one answer, beside its request."""

    answer: str
    confidence: float
    features: dict[str, float]
    content: bytes


class Kind(NamedTuple, Generic[Item, Outcome, Model]):
    """What one model's items and answers are."""

    run: Callable[[Model, Sequence[Item]], list[Outcome]]  # one answer for each item, in order
    golden: Callable[[Model], Item]  # an item whose answer is known
    check_golden: Callable[[Model, Outcome], None]  # raises ModelError
    recorded: Callable[[Item, Outcome], Recorded]
    item_s: float  # predicted seconds of one item in a batch
    max_batch_s: float  # predicted seconds in one batch, which a newcomer may have to wait for


class Asked(NamedTuple, Generic[Item, Model]):
    """One item, and the request that it came with; None: our own health check."""

    item: Item
    model: Model
    request: Request[Model] | None
    place: int  # within the request


class Answerer(Generic[Item, Outcome, Model]):
    """Answers items in batches of concurrent callers.

    `model` is the one in force. To assign another exchanges it for the requests that arrive from
    then on.

    Args:
        model: verified.
        kind: what its items and answers are.
        settings: batch size, queue limit, longest wait, and where answers are recorded.
        on_batch: called on the event loop after each batch.

    Raises:
        ModelError: the model does not run, or answers its golden item wrong.
        SpoolError: the folder for records cannot be written.
    """

    def __init__(
        self,
        model: Model,
        kind: Kind[Item, Outcome, Model],
        settings: Settings,
        on_batch: Callable[[BatchStats], None],
    ) -> None:
        self.model = model
        self._kind = kind
        self._keeps_content = settings.capture_originals
        self._chunk = settings.max_batch_size
        self.check(model)
        self._spool: Spool | None = None
        if settings.capture_dir is not None:
            self._spool = Spool(
                settings.capture_dir,
                sample_frac=settings.capture_sample_frac,
                fsync=settings.capture_fsync,
            )
        self._batcher = Batcher[Asked[Item, Model], Outcome](
            self._answer_and_record,
            name="model",
            max_batch_size=settings.max_batch_size,
            queue_limit=settings.queue_limit,
            max_wait_s=settings.max_queue_wait_ms / 1e3,
            on_batch=on_batch,
            max_batch_s=kind.max_batch_s,
        )
        self._prime_time_estimate()

    def check(self, model: Model) -> None:
        """Answer a model's golden item with it, on the calling thread.

        Raises:
            ModelError: the answer is not the one that is known.
        """
        self._kind.check_golden(model, self._kind.run(model, [self._kind.golden(model)])[0])

    async def answer(self, items: Sequence[Item], request: Request[Model]) -> list[Outcome]:
        """Answer the items of one request, in order.

        Raises:
            Overloaded: the answer would be too late.
            ModelError: the model failed on one of them.
            SpoolError: the record of one could not be written.
        """
        self._batcher.admit(len(items), request.sender, len(items) * self._kind.item_s)
        answers: list[Outcome] = []
        for start in range(0, len(items), self._chunk):
            piece = [
                Asked(item, request.model, request, start + place)
                for place, item in enumerate(items[start : start + self._chunk])
            ]
            piece_s = len(piece) * self._kind.item_s
            for outcome in await self._batcher.submit(piece, request.sender, piece_s):
                if isinstance(outcome, Exception):
                    raise outcome
                answers.append(outcome)
        return answers

    async def in_turn(
        self, function: Callable[[], Value], request: Request[Model], function_s: float
    ) -> Value:
        """Run a function on the model's thread when it is the turn of the request's sender.

        For work on one item before its batch, such as decoding, that would stop the event loop.

        Raises:
            Overloaded: the answer would be too late.
            Exception: what the function raises.
        """
        self._batcher.admit(0, request.sender, function_s)
        return await self._batcher.call(function, request.sender, function_s)

    async def read_golden(self) -> None:
        """Answer the golden item on the path of requests.

        Raises:
            ModelError: the answer is not the one that is known.
            Overloaded: the queue has no room for it.
        """
        model = self.model
        self._batcher.admit(1, _HEALTH, self._kind.item_s)
        asked: Asked[Item, Model] = Asked(self._kind.golden(model), model, None, 0)
        outcome = (await self._batcher.submit([asked], _HEALTH, self._kind.item_s))[0]
        if isinstance(outcome, Exception):
            raise ModelError(f"the golden item cannot be answered: {outcome}") from outcome
        self._kind.check_golden(model, outcome)

    def busy_for_s(self) -> float:
        """How long the running batch has been running; 0 when the model is free."""
        return self._batcher.running_for_s()

    def writable(self) -> bool:
        """Whether the next record could be written."""
        return self._spool is None or self._spool.writable()

    def close(self) -> None:
        """Stop the thread and finish the spool's segment; call it after the last answer."""
        self._batcher.close()
        if self._spool is not None:
            self._spool.close()

    def _prime_time_estimate(self) -> None:
        """Time single items and full batches, so that the first burst is predicted correctly."""
        golden = self._kind.golden(self.model)
        for size in (1, self._chunk) * _TIMED_BATCHES:
            started = time.perf_counter()
            self._kind.run(self.model, [golden] * size)
            self._batcher.learn(size * self._kind.item_s, time.perf_counter() - started)

    def _answer_and_record(self, asked: Sequence[Asked[Item, Model]]) -> list[Outcome | Exception]:
        """Answer a batch, with each model that it came to, and record it. On the batcher's thread.

        Raises:
            ModelError: the model failed; the batcher then runs each item alone.
        """
        outcomes: dict[int, Outcome | Exception] = {}
        for model in dict.fromkeys(one.model for one in asked):
            places = [place for place, one in enumerate(asked) if one.model is model]
            answered = self._kind.run(model, [asked[place].item for place in places])
            outcomes.update(zip(places, answered, strict=True))
        in_order = [outcomes[place] for place in range(len(asked))]
        return self._record(asked, in_order)

    def _record(
        self, asked: Sequence[Asked[Item, Model]], outcomes: list[Outcome | Exception]
    ) -> list[Outcome | Exception]:
        """Put the answers on disk; one whose record is not there becomes an error."""
        spool = self._spool
        if spool is None:
            return outcomes
        frames = {
            place: add_head(encode(self._record_of(one, outcome)))
            for place, (one, outcome) in enumerate(zip(asked, outcomes, strict=True))
            if one.request is not None
            and not isinstance(outcome, Exception)
            and spool.wants(one.request.read_id)
        }
        if frames:
            try:
                spool.append_frames(list(frames.values()))
            except SpoolError as error:
                return [error if place in frames else one for place, one in enumerate(outcomes)]
        return outcomes

    def _record_of(self, one: Asked[Item, Model], outcome: Outcome) -> AnswerRecord:
        request = one.request
        assert request is not None
        recorded = self._kind.recorded(one.item, outcome)
        return AnswerRecord(
            read_id=request.read_id,
            request_id=request.id,
            index=one.place,
            time_us=time.time_ns() // 1000,
            site=request.site,
            model_version=one.model.version,
            answer=recorded.answer,
            confidence=recorded.confidence,
            features=recorded.features,
            total_ms=(time.perf_counter() - request.started) * 1e3,
            content_type=request.content_type,
            content=recorded.content if self._keeps_content else b"",
        )
