"""Crops -> readings: decode, frame, batch, decide. The one path that every route reads by.

What can fail for one crop fails for it alone, before the batch is inferred. All of it runs on the
batcher's thread, so that the event loop stays free to refuse what comes too late.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.artifact import Artifact
from model.classifier import IMAGE_SHAPE, Classifier
from model.decision import BLANK, Decision, Policy, decide
from model.decode import decode
from model.errors import BlankCrop, CropError, ModelError
from model.framed import Framed
from model.preprocess import frame_many
from serving.config import Settings
from serving.messages import Request
from serving.reading.batcher import Batcher, BatchStats

_TIMED_BATCHES: Final = 3
CHUNK: Final = 32  # crops of a bulk request between two looks at other requests

# What can be read: a PNG or JPEG file, a (H, W) uint8 crop, or a (1, 28, 28) float32 image that
# its sender has framed.
Source = bytes | NDArray[np.uint8] | NDArray[np.float32]


class Reading(NamedTuple):
    """One crop, read, with everything that capture and telemetry want to know of it."""

    crop: NDArray[np.uint8] | None  # (H, W); None: the sender gave an image
    framed: Framed | None  # None: blank, or the sender gave an image
    image: NDArray[np.float32] | None  # (1, 28, 28), what the model saw; None: blank
    decision: Decision
    garbage: float
    decode_ms: float
    preprocess_ms: float  # its share of the batch's
    inference_ms: float  # of the whole batch: the time it took to get this answer
    decision_ms: float


class Asked(NamedTuple):
    """One crop to be read, and for whom."""

    source: Source
    request: Request | None  # None: our own health check, of which no record is kept
    crop_index: int  # in the request


Keep = Callable[[Sequence[Asked], Sequence["Reading | Exception"]], dict[int, Exception]]


class _Prepared(NamedTuple):  # as Reading: a frozen dataclass takes twice as long
    crop: NDArray[np.uint8] | None
    framed: Framed | None
    image: NDArray[np.float32] | None
    decode_ms: float
    preprocess_ms: float


class Reader:
    """Reads crops with one model.

    Args:
        artifact: the verified champion.
        policy: how scores become decisions.
        settings: batch size, queue limit and longest wait are used.
        on_batch: told of each finished batch, on the event loop.
        keep: puts what a batch has read on disk, before anybody is answered; tells which places
            of the batch must not be answered, and why.

    Raises:
        ModelError: the model does not run, or reads the golden crop wrongly.
    """

    def __init__(
        self,
        artifact: Artifact,
        policy: Policy,
        settings: Settings,
        on_batch: Callable[[BatchStats], None],
        keep: Keep,
    ) -> None:
        self.artifact = artifact
        self.policy = policy
        self._classifier = Classifier(artifact.onnx_bytes)
        self._classifier.warm_up()
        self._keep = keep
        self._batcher = Batcher[Asked, Reading](
            self._read_and_keep,
            max_batch_size=settings.max_batch_size,
            queue_limit=settings.queue_limit,
            max_wait_s=settings.max_queue_wait_ms / 1e3,
            on_batch=on_batch,
        )
        self._chunk = min(CHUNK, settings.max_batch_size)
        self._check_golden(self._read_batch([artifact.golden.png])[0])
        self._show_batch_times()

    @property
    def num_queued(self) -> int:
        """Crops waiting now."""
        return self._batcher.num_queued

    def busy_for_s(self) -> float:
        """How long the model has been busy with one batch."""
        return self._batcher.running_for_s()

    def close(self) -> None:
        """Let the running batch end and stop the thread."""
        self._batcher.close()

    async def read(self, source: Source, request: Request | None = None) -> Reading:
        """Read one crop, for a request or for ourselves.

        Raises:
            CropError: it cannot be read.
            Overloaded: the answer would come too late.
            ModelError: the model failed on it.
            SpoolError, RecordError: it is not on disk.
        """
        outcome = (await self._batcher.submit((Asked(source, request, 0),)))[0]
        if isinstance(outcome, Exception):
            try:
                raise outcome
            finally:
                # Its traceback holds this frame, and the body: no cycle may keep both.
                del outcome
        return outcome

    async def read_many(
        self, sources: Sequence[Source], request: Request | None = None
    ) -> list[Reading | CropError]:
        """Read many crops in order. One that cannot be read is an error in its place.

        Raises:
            Overloaded: the answer would come too late.
            ModelError: the model failed on one of them.
            SpoolError, RecordError: one of them is not on disk.
        """
        readings: list[Reading | CropError] = []
        # A chunk at a time, so that single crops that come meanwhile wait for one chunk only.
        asked = [Asked(source, request, index) for index, source in enumerate(sources)]
        for start in range(0, len(asked), self._chunk):
            for outcome in await self._batcher.submit(asked[start : start + self._chunk]):
                if isinstance(outcome, Exception) and not isinstance(outcome, CropError):
                    try:
                        raise outcome
                    finally:
                        del outcome  # as in `read`
                readings.append(outcome)
        return readings

    async def read_golden(self) -> None:
        """Read the golden crop by the path that requests take.

        Raises:
            ModelError: it reads otherwise than when the model was promoted.
            Overloaded: there is no room for it now.
        """
        self._check_golden(await self.read(self.artifact.golden.png))

    def _show_batch_times(self) -> None:
        """Let the batcher see what company costs, before the first burst comes."""
        for size in (1, self._chunk) * _TIMED_BATCHES:
            started = time.perf_counter()
            self._read_batch([self.artifact.golden.png] * size)
            self._batcher.learn(size, time.perf_counter() - started)

    def _check_golden(self, outcome: Reading | Exception) -> None:
        if isinstance(outcome, Exception):
            raise ModelError(f"the golden crop cannot be read: {outcome}") from outcome
        golden, decision = self.artifact.golden, outcome.decision
        if decision.digit != golden.digit or decision.confidence < golden.min_confidence:
            raise ModelError(
                f"the golden crop reads {decision.digit} at {decision.confidence:.3f}; "
                f"{golden.digit} at >= {golden.min_confidence} is expected"
            )

    def _read_and_keep(self, asked: Sequence[Asked]) -> list[Reading | Exception]:
        """Read a batch; what is read and cannot be kept is an error in its place."""
        outcomes = self._read_batch([one.source for one in asked])
        for place, failure in self._keep(asked, outcomes).items():
            outcomes[place] = failure
        return outcomes

    def _read_batch(self, sources: Sequence[Source]) -> list[Reading | Exception]:
        """Prepare each source by itself, then infer all that can be read together."""
        prepared = _prepare(sources)
        images = [
            one.image for one in prepared if isinstance(one, _Prepared) and one.image is not None
        ]
        if not images:
            return [one if isinstance(one, CropError) else _blank(one) for one in prepared]
        started = time.perf_counter()
        # Half the time of numpy's stack, which matters for a lone crop.
        scores = self._classifier(np.concatenate(images)[:, np.newaxis])
        inferred = time.perf_counter()
        decisions = decide(scores, self.policy)
        inference_ms = (inferred - started) * 1e3
        decision_ms = (time.perf_counter() - inferred) * 1e3
        judged = iter(zip(decisions, scores.garbage.tolist(), strict=True))
        readings: list[Reading | Exception] = []
        for one in prepared:
            if isinstance(one, CropError):
                readings.append(one)
            elif one.image is None:
                readings.append(_blank(one))
            else:
                decision, garbage = next(judged)
                readings.append(_reading(one, decision, garbage, inference_ms, decision_ms))
        return readings


def _prepare(sources: Sequence[Source]) -> list[_Prepared | CropError]:
    """Decode and frame crops; what is at fault is a value, so that its neighbours go on."""
    decoded = [_decode(source) for source in sources]
    crops = [one.crop for one in decoded if isinstance(one, _Prepared) and one.crop is not None]
    if not crops:
        return decoded
    started = time.perf_counter()
    outcomes = iter(frame_many(crops))
    preprocess_ms = (time.perf_counter() - started) * 1e3 / len(crops)
    return [
        one
        if isinstance(one, CropError) or one.crop is None
        else _framed(one, next(outcomes), preprocess_ms)
        for one in decoded
    ]


def _decode(source: Source) -> _Prepared | CropError:
    if not isinstance(source, bytes):
        if source.ndim == len(IMAGE_SHAPE):
            return _Prepared(None, None, source.astype(np.float32, copy=False), 0.0, 0.0)
        return _Prepared(source.view(np.uint8), None, None, 0.0, 0.0)
    started = time.perf_counter()
    try:
        crop = decode(source)
    except CropError as error:
        # As a value it must not hold the frames that raised it: they hold the batch, and it.
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None)
    return _Prepared(crop, None, None, (time.perf_counter() - started) * 1e3, 0.0)


def _framed(one: _Prepared, outcome: Framed | BlankCrop, preprocess_ms: float) -> _Prepared:
    if isinstance(outcome, BlankCrop):
        return _Prepared(one.crop, None, None, one.decode_ms, preprocess_ms)
    return _Prepared(one.crop, outcome, outcome.image, one.decode_ms, preprocess_ms)


def _blank(prepared: _Prepared) -> Reading:
    return _reading(prepared, BLANK, -math.inf, 0.0, 0.0)


def _reading(
    prepared: _Prepared,
    decision: Decision,
    garbage: float,
    inference_ms: float,
    decision_ms: float,
) -> Reading:
    return Reading(
        crop=prepared.crop,
        framed=prepared.framed,
        image=prepared.image,
        decision=decision,
        garbage=garbage,
        decode_ms=prepared.decode_ms,
        preprocess_ms=prepared.preprocess_ms,
        inference_ms=inference_ms,
        decision_ms=decision_ms,
    )
