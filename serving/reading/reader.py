"""Crops -> readings: decode, frame, batch, infer, decide. Every route reads on this path.

An error of one crop is found before inference and fails that crop alone. All of this runs on the
batcher's thread, so the event loop stays free to refuse requests that would be answered too late.
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
from serving.messages import BatchStats, Reading, Request
from serving.reading.batcher import Batcher
from serving.reading.outcomes import without_frames

_TIMED_BATCHES: Final = 3  # per batch size
CHUNK: Final = 32  # crops of a bulk request per batch; other requests run between two chunks

# A PNG or JPEG file, a (H, W) uint8 crop, or a (1, 28, 28) float32 image, framed by its sender.
Source = bytes | NDArray[np.uint8] | NDArray[np.float32]


class ReadRequest(NamedTuple):
    """One crop to read, and the request that it came with."""

    source: Source
    request: Request | None  # None: our own health check, which is not captured
    crop_index: int  # within the request


PersistBatch = Callable[
    [Sequence[ReadRequest], Sequence["Reading | Exception"]], dict[int, Exception]
]


# A NamedTuple made by position: a frozen dataclass takes twice as long to make
# (`python -m loadtest bench --parts latency`).
class _Prepared(NamedTuple):
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
        on_batch: called on the event loop after each batch.
        persist: writes a batch's readings to disk, before any caller is answered. Returns an error
            for each place in the batch that must not be answered with a reading.

    Raises:
        ModelError: the model does not run, or misreads the golden crop.
    """

    def __init__(
        self,
        artifact: Artifact,
        policy: Policy,
        settings: Settings,
        on_batch: Callable[[BatchStats], None],
        persist: PersistBatch,
    ) -> None:
        self.artifact = artifact
        self.policy = policy
        self._classifier = Classifier(artifact.onnx_bytes)
        self._classifier.warm_up()
        self._persist = persist
        self._batcher = Batcher[ReadRequest, Reading](
            self._read_and_persist,
            max_batch_size=settings.max_batch_size,
            queue_limit=settings.queue_limit,
            max_wait_s=settings.max_queue_wait_ms / 1e3,
            on_batch=on_batch,
        )
        self._chunk = min(CHUNK, settings.max_batch_size)
        self._check_golden(self._read_batch([artifact.golden.png])[0])
        self._prime_time_estimate()

    @property
    def num_queued(self) -> int:
        """Crops in the queue now."""
        return self._batcher.num_queued

    def busy_for_s(self) -> float:
        """How long the running batch has been running; 0 when the model is free."""
        return self._batcher.running_for_s()

    def close(self) -> None:
        """Stop the thread after the running batch."""
        self._batcher.close()

    async def read(self, source: Source, request: Request | None = None) -> Reading:
        """Read one crop, for a request or for the health check.

        Raises:
            CropError: it cannot be read.
            Overloaded: the answer would be too late.
            ModelError: the model failed on it.
            SpoolError, RecordError: its record could not be written.
        """
        outcome = (await self._batcher.submit((ReadRequest(source, request, 0),)))[0]
        if isinstance(outcome, Exception):
            try:
                raise outcome
            finally:
                # Its traceback refers to this frame, and so to the body: leave no cycle.
                del outcome
        return outcome

    async def read_many(
        self, sources: Sequence[Source], request: Request | None = None
    ) -> list[Reading | CropError]:
        """Read many crops in order. A crop that cannot be read has an error in its place.

        Raises:
            Overloaded: the answer would be too late.
            ModelError: the model failed on one of them.
            SpoolError, RecordError: the record of one could not be written.
        """
        readings: list[Reading | CropError] = []
        # One chunk at a time, so that other requests wait for one chunk at most.
        requests = [ReadRequest(source, request, index) for index, source in enumerate(sources)]
        for start in range(0, len(requests), self._chunk):
            for outcome in await self._batcher.submit(requests[start : start + self._chunk]):
                if isinstance(outcome, Exception) and not isinstance(outcome, CropError):
                    try:
                        raise outcome
                    finally:
                        del outcome  # leave no cycle, as in `read`
                readings.append(outcome)
        return readings

    async def read_golden(self) -> None:
        """Read the golden crop on the path of requests.

        Raises:
            ModelError: it is not read as it was when the model was promoted.
            Overloaded: the queue has no room for it.
        """
        self._check_golden(await self.read(self.artifact.golden.png))

    def _prime_time_estimate(self) -> None:
        """Time single crops and chunks, so that the first burst is predicted correctly."""
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

    def _read_and_persist(self, requests: Sequence[ReadRequest]) -> list[Reading | Exception]:
        """Read and persist a batch; a reading that cannot be persisted becomes an error."""
        outcomes = self._read_batch([one.source for one in requests])
        for place, failure in self._persist(requests, outcomes).items():
            outcomes[place] = failure
        return outcomes

    def _read_batch(self, sources: Sequence[Source]) -> list[Reading | Exception]:
        """Decode and frame each source, then infer all images in one call."""
        prepared = _prepare(sources)
        images = [
            one.image for one in prepared if isinstance(one, _Prepared) and one.image is not None
        ]
        if not images:
            return [one if isinstance(one, CropError) else _blank(one) for one in prepared]
        started = time.perf_counter()
        # np.stack takes twice as long for one crop (`python -m loadtest bench --parts latency`).
        scores = self._classifier(np.concatenate(images)[:, np.newaxis])
        inferred = time.perf_counter()
        decisions = decide(scores, self.policy)
        inference_ms = (inferred - started) * 1e3
        decision_ms = (time.perf_counter() - inferred) * 1e3
        decided = iter(zip(decisions, scores.garbage.tolist(), strict=True))
        readings: list[Reading | Exception] = []
        for one in prepared:
            if isinstance(one, CropError):
                readings.append(one)
            elif one.image is None:
                readings.append(_blank(one))
            else:
                decision, garbage = next(decided)
                readings.append(_reading(one, decision, garbage, inference_ms, decision_ms))
        return readings


def _prepare(sources: Sequence[Source]) -> list[_Prepared | CropError]:
    """Decode and frame crops; the error of a bad crop is a value, so the others continue."""
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
        return without_frames(error)
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
