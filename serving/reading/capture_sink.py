"""Readings -> capture records, before their answer is sent. Knows the spool only by its methods.

What was read in one batch is written in one go, on the batcher's thread: on the event loop it took
turns with the next batch for the interpreter, which cost nearly as much again.
"""

import time
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from capture.record import CaptureRecord, RecordError, to_uint8_many
from capture.spool import Spool, SpoolError
from model.artifact import Artifact
from model.decision import Policy
from model.framed import Framed
from serving.config import Settings
from serving.reading.bare_png import bare_png
from serving.reading.reader import Asked, Reading, Source

WORTH_BYTES: Final = 4_096  # fewer are written sooner than a file is looked through


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
        self._spool: Spool | None = None
        if settings.capture_dir is not None:
            self._spool = Spool(
                settings.capture_dir,
                sample_frac=settings.capture_sample_frac,
                keep_originals=settings.capture_originals,
                fsync=settings.capture_fsync,
            )

    def keep(
        self, asked: Sequence[Asked], outcomes: Sequence[Reading | Exception]
    ) -> dict[int, Exception]:
        """Put a batch's readings on disk; what could not be read leaves no record.

        Returns:
            Place in the batch -> why it is not on disk: that one must not be answered with 200.
        """
        spool = self._spool
        if spool is None:
            return {}
        read = [
            (place, one, outcome)
            for place, (one, outcome) in enumerate(zip(asked, outcomes, strict=True))
            if isinstance(outcome, Reading) and one.request and spool.wants(one.request.id)
        ]
        images = [reading.image for _, _, reading in read if reading.image is not None]
        # All at once: numpy lets other threads run during each step of each, and a change of
        # threads costs more than the step.
        grey = iter(to_uint8_many(images) if images else ())
        now_s, now_us = time.perf_counter(), time.time_ns() // 1000
        frames: dict[int, bytes] = {}
        failures: dict[int, Exception] = {}
        for place, one, reading in read:
            image = None if reading.image is None else next(grey)
            try:
                frames[place] = spool.frame(self._record(one, reading, image, now_s, now_us))
            except RecordError as error:
                failures[place] = _without_frames(error)
        if frames:
            try:
                spool.append_frames(list(frames.values()))
            except SpoolError as error:
                failures |= dict.fromkeys(frames, _without_frames(error))
        return failures

    def writable(self) -> bool:
        """Whether the next record could be written."""
        return self._spool is None or self._spool.writable()

    def close(self) -> None:
        """Finish what is on disk; after the last answer."""
        if self._spool is not None:
            self._spool.close()

    def _record(
        self,
        asked: Asked,
        reading: Reading,
        image: NDArray[np.uint8] | None,
        now_s: float,  # of time.perf_counter(), as a request's start
        now_us: int,
    ) -> CaptureRecord:
        request, decision = asked.request, reading.decision
        assert request is not None
        total_ms = (now_s - request.started) * 1e3
        worked_ms = (
            request.guard_ms
            + reading.decode_ms
            + reading.preprocess_ms
            + reading.inference_ms
            + reading.decision_ms
        )
        # By position: to match so many names takes longer than everything else here.
        return CaptureRecord(
            request.id,
            asked.crop_index,
            now_us,
            request.site,
            self._version,
            decision.digit,
            decision.confidence,
            decision.rejected_because is None,
            decision.rejected_because,
            self._threshold,
            reading.garbage,
            decision.probs,
            image,
            _to_keep(asked.source, reading.crop),
            *_framing(reading.framed),
            request.guard_ms,
            reading.decode_ms,
            reading.preprocess_ms,
            max(total_ms - worked_ms, 0.0),
            reading.inference_ms,
            reading.decision_ms,
            total_ms,
        )


def _framing(framed: Framed | None) -> tuple[bool, bool, int, int, float, int]:
    """What preprocessing found, in the order of a record's fields."""
    if framed is None:
        return False, False, 0, 0, 0.0, 0
    return (
        framed.inverted,
        framed.passed_through,
        framed.num_parts,
        framed.num_dropped,
        framed.aspect,
        framed.edges_touched,
    )


def _to_keep(source: Source, crop: NDArray[np.uint8] | None) -> bytes | NDArray[np.uint8] | None:
    """The pixels, or the PNG file they came in where that is much less to write."""
    if crop is not None and isinstance(source, bytes) and crop.size - len(source) > WORTH_BYTES:
        return bare_png(source) or crop
    return crop


def _without_frames(error: Exception) -> Exception:
    """An error as a value must not hold the frames that raised it: they hold the batch, and it."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
