"""Readings -> capture records, before their answer is sent. Knows the spool only by its methods.

Requests whose crops were read in one batch come here in the same tick of the event loop, and are
written together.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.artifact import Artifact
from model.decision import Policy
from model.errors import CropError
from monitoring.capture import Frame, Spool
from monitoring.records import CaptureRecord, RecordError, to_uint8_many
from serving.config import Settings
from serving.messages import Request
from serving.reader import Reading


class _Waiting(NamedTuple):
    """A request whose answer waits for its records."""

    request: Request
    readings: Sequence[tuple[int, Reading]]  # with the crop's place in the request
    total_ms: float
    on_disk: asyncio.Future[None]


class CaptureSink:
    """Writes one record for each reading, or does nothing where capture is off.

    Args:
        settings: where and how much to capture.
        artifact: the model served.
        policy: its threshold goes into every record.

    Raises:
        SpoolError: the folder cannot be written.
    """

    def __init__(self, settings: Settings, artifact: Artifact, policy: Policy) -> None:
        self._version = artifact.version
        self._threshold = policy.threshold
        self._fsync = settings.capture_fsync
        self._waiting: list[_Waiting] = []
        self._is_write_due = False
        self._spool: Spool | None = None
        if settings.capture_dir is not None:
            self._spool = Spool(
                settings.capture_dir,
                sample_frac=settings.capture_sample_frac,
                keep_originals=settings.capture_originals,
                fsync=settings.capture_fsync,
            )

    async def keep(
        self, request: Request, readings: Sequence[Reading | CropError], total_ms: float
    ) -> None:
        """Put a request's readings on disk; a crop that could not be read leaves no record.

        Raises:
            SpoolError: they are not on disk; the request must not be answered with 200.
        """
        spool = self._spool
        if spool is None or not spool.wants(request.id):
            return
        read = [(index, one) for index, one in enumerate(readings) if isinstance(one, Reading)]
        if not read:
            return
        loop = asyncio.get_running_loop()
        on_disk: asyncio.Future[None] = loop.create_future()
        self._waiting.append(_Waiting(request, read, total_ms, on_disk))
        if not self._is_write_due:
            # Not at once: others that were read in the same batch join this write.
            self._is_write_due = True
            loop.call_soon(self._write, loop, spool)
        await on_disk

    def writable(self) -> bool:
        """Whether the next record could be written."""
        return self._spool is None or self._spool.writable()

    def close(self) -> None:
        """Finish what is on disk; after the last answer."""
        if self._spool is not None:
            self._spool.close()

    def _write(self, loop: asyncio.AbstractEventLoop, spool: Spool) -> None:
        """Write what waits. Runs on the event loop, never while a write is running."""
        waiting, self._waiting = self._waiting, []
        failure: Exception | None = None
        try:
            frames = self._frames(spool, waiting)
            if self._fsync:  # takes milliseconds, which would stop everything else
                written = loop.run_in_executor(None, spool.append_frames, frames)
                written.add_done_callback(
                    lambda done: self._tell(loop, spool, waiting, done.exception())
                )
                return
            spool.append_frames(frames)
        except Exception as error:  # noqa: BLE001  whatever it is, it belongs to the callers
            failure = error
        self._tell(loop, spool, waiting, failure)

    def _tell(
        self,
        loop: asyncio.AbstractEventLoop,
        spool: Spool,
        waiting: Sequence[_Waiting],
        failure: BaseException | None,
    ) -> None:
        """Let the handlers go on, and write what has come meanwhile."""
        for one in waiting:
            if one.on_disk.done():  # its caller has gone
                continue
            if failure is None:
                one.on_disk.set_result(None)
            else:
                one.on_disk.set_exception(failure)
        self._is_write_due = bool(self._waiting)
        if self._is_write_due:
            self._write(loop, spool)

    def _frames(self, spool: Spool, waiting: Sequence[_Waiting]) -> list[Frame]:
        """What to write; a request whose record does not fit its layout fails alone."""
        images = [
            reading.image
            for one in waiting
            for _, reading in one.readings
            if reading.image is not None
        ]
        # All at once: numpy lets other threads run during each step of each, and a change of
        # threads costs more than the step.
        grey = iter(to_uint8_many(images) if images else ())
        frames: list[Frame] = []
        for one in waiting:
            records = [
                self._record(one, index, reading, None if reading.image is None else next(grey))
                for index, reading in one.readings
            ]
            try:
                frames += [spool.frame(record) for record in records]
            except RecordError as error:
                if not one.on_disk.done():
                    one.on_disk.set_exception(error)
        return frames

    def _record(
        self, waiting: _Waiting, index: int, reading: Reading, image: NDArray[np.uint8] | None
    ) -> CaptureRecord:
        request, total_ms = waiting.request, waiting.total_ms
        decision, framed = reading.decision, reading.framed
        worked_ms = (
            request.guard_ms
            + reading.decode_ms
            + reading.preprocess_ms
            + reading.inference_ms
            + reading.decision_ms
        )
        return CaptureRecord(
            request_id=request.id,
            index=index,
            time_us=time.time_ns() // 1000,
            site=request.site,
            model_version=self._version,
            digit=decision.digit,
            confidence=decision.confidence,
            accepted=decision.rejected_because is None,
            rejected_because=decision.rejected_because,
            threshold=self._threshold,
            garbage=reading.garbage,
            probs=decision.probs,
            image=image,
            crop=reading.crop,
            inverted=framed is not None and framed.inverted,
            passed_through=framed is not None and framed.passed_through,
            num_parts=0 if framed is None else framed.num_parts,
            num_dropped=0 if framed is None else framed.num_dropped,
            aspect=0.0 if framed is None else framed.aspect,
            edges_touched=0 if framed is None else framed.edges_touched,
            guard_ms=request.guard_ms,
            decode_ms=reading.decode_ms,
            preprocess_ms=reading.preprocess_ms,
            queue_ms=max(total_ms - worked_ms, 0.0),
            inference_ms=reading.inference_ms,
            decision_ms=reading.decision_ms,
            total_ms=total_ms,
        )
