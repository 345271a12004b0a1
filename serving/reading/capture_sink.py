"""Readings -> capture records on disk, before their answers are sent.

The records of a batch are written together, on the batcher's thread. On the event loop they would
compete with the next batch for the GIL, which nearly doubled the cost
(python -m loadtest bench --parts saturation --servers digitline digitline-capture). Knows only the
methods of the spool.
"""

import time
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from capture import challenger_answer
from capture.audit_sample import audit_probability
from capture.crop_size import MAX_CROP_PX, reduce_crop
from capture.frames import add_head
from capture.label_event import LabelEvent, encode
from capture.read_check import check_reads
from capture.record import CaptureRecord, StageTimes, build, to_uint8_many
from capture.spool import Spool, SpoolError
from model.framed import SIDE_PX, Framed
from model.png_file import bare_png
from serving.config import Settings
from serving.messages import Compared, Reading, Request
from serving.reading.batch_reading import ReadRequest
from serving.reading.crop_cost import Source
from serving.reading.outcomes import without_frames

MIN_SAVED_BYTES: Final = 4_096  # writing fewer takes less time than parsing the file

# Used where there is no Framed: a blank crop, or an image that the sender framed.
_NOT_FRAMED: Final = Framed(
    image=np.zeros((1, SIDE_PX, SIDE_PX), np.float32),
    inverted=False,
    passed_through=False,
    num_parts=0,
    num_dropped=0,
    aspect=0.0,
    edges_touched=0,
)


class CaptureSink:
    """Writes one record for each reading, or does nothing where capture is off.

    Args:
        settings: where and how much to capture.

    Raises:
        SpoolError: the folder cannot be written.
    """

    def __init__(self, settings: Settings) -> None:
        self._audit_frac = settings.audit_frac
        self._capture_frac = settings.capture_sample_frac
        self._folder = settings.capture_dir
        self._spool: Spool | None = None
        if settings.capture_dir is not None:
            self._spool = Spool(
                settings.capture_dir,
                sample_frac=settings.capture_sample_frac,
                keep_originals=settings.capture_originals,
                fsync=settings.capture_fsync,
            )

    def persist(
        self, requests: Sequence[ReadRequest], outcomes: Sequence[Reading | Exception]
    ) -> dict[int, Exception]:
        """Put a batch's readings on disk; a crop that could not be read leaves no record.

        Returns:
            Place in the batch -> why its record is not on disk; it must not be answered with 200.
        """
        spool = self._spool
        if spool is None:
            return {}
        read = [
            (place, one, outcome)
            for place, (one, outcome) in enumerate(zip(requests, outcomes, strict=True))
            if isinstance(outcome, Reading)
            and one.request
            and one.is_mail
            and spool.wants(one.request.read_id)
        ]
        images = [reading.image for _, _, reading in read if reading.image is not None]
        # Converted together: numpy releases the GIL in each step, and a thread switch costs more
        # than the step.
        grey = iter(to_uint8_many(images) if images else ())
        now_s, now_us = time.perf_counter(), time.time_ns() // 1000
        frames: dict[int, bytes] = {}
        failures: dict[int, Exception] = {}
        for place, one, reading in read:
            image = None if reading.image is None else next(grey)
            try:
                frames[place] = spool.frame(self._record(one, reading, image, now_s, now_us))
            except Exception as error:  # noqa: BLE001 - whatever it is, it fails this record alone
                failures[place] = without_frames(error)
        if frames:
            try:
                spool.append_frames(list(frames.values()))
            except SpoolError as error:
                failures |= dict.fromkeys(frames, without_frames(error))
        return failures

    @property
    def is_on(self) -> bool:
        """Whether there is a spool."""
        return self._spool is not None

    def check_reads(self, keys: Sequence[tuple[str, int]]) -> list[str]:
        """Whether each crop was captured, as `capture.read_check` says it; within a second."""
        assert self._folder is not None
        return check_reads(self._folder, keys)

    def persist_labels(self, events: Sequence[LabelEvent]) -> None:
        """Put label events on disk, in the segment that the records are in.

        Raises:
            SpoolError: not all of them are on disk; none may be acknowledged.
        """
        assert self._spool is not None
        self._spool.append_frames([add_head(encode(event)) for event in events])

    def persist_compared(self, compared: Sequence[Compared]) -> None:
        """Put a challenger's answers beside the records that are captured.

        Raises:
            SpoolError: they are not on disk; nothing depends on them.
        """
        spool = self._spool
        if spool is None:
            return
        frames = [add_head(_encode_challenger(one)) for one in compared if spool.wants(one.read_id)]
        if frames:
            spool.append_frames(frames)

    def writable(self) -> bool:
        """Whether the next record could be written."""
        return self._spool is None or self._spool.writable()

    def close(self) -> None:
        """Finish the current segment; call it after the last answer."""
        if self._spool is not None:
            self._spool.close()

    def _record(
        self,
        one: ReadRequest,
        reading: Reading,
        image: NDArray[np.uint8] | None,
        now_s: float,  # of time.perf_counter(), as a request's start
        now_us: int,
    ) -> CaptureRecord:
        request = one.request
        assert request is not None
        crop, scale = _crop_to_store(one.source, reading.crop)
        return build(
            read_id=request.read_id,
            request_id=request.id,
            index=one.crop_index,
            time_us=now_us,
            deadline_us=_deadline_us(request, now_s, now_us),
            site=request.site,
            model_version=one.model.version,
            threshold=one.model.policy.threshold,
            audit_probability=self._audit_probability(one, reading),
            is_bulk=one.is_bulk,
            is_field=one.is_field,
            garbage=reading.garbage,
            image=image,
            crop=crop,
            crop_scale=scale,
            decision=reading.decision,
            framed=reading.framed or _NOT_FRAMED,
            stages=_stage_times(request, reading, now_s),
            challenger=challenger_answer.NO_ANSWER,
        )

    def _audit_probability(self, one: ReadRequest, reading: Reading) -> float:
        if reading.decision.rejected_because is not None:
            return 0.0
        assert one.request is not None
        return audit_probability(
            one.request.read_id,
            one.crop_index,
            audit_frac=self._audit_frac,
            capture_frac=self._capture_frac,
        )


def _deadline_us(request: Request, now_s: float, now_us: int) -> int | None:
    """When the letter can wait no longer, microseconds since 1970."""
    if request.deadline_ms is None:
        return None
    return now_us + request.deadline_ms * 1000 - int((now_s - request.started) * 1e6)


def _encode_challenger(one: Compared) -> bytes:
    decision = one.challenger
    answer = challenger_answer.ChallengerAnswer(
        one.version, decision.digit, decision.confidence, decision.accepted
    )
    return challenger_answer.encode(one.read_id, one.crop_index, answer)


def _stage_times(request: Request, reading: Reading, now_s: float) -> StageTimes:
    times = StageTimes()
    times.guard_ms = guard_ms = request.guard_ms
    times.decode_ms = decode_ms = reading.decode_ms
    times.preprocess_ms = preprocess_ms = reading.preprocess_ms
    times.inference_ms = inference_ms = reading.inference_ms
    times.decision_ms = decision_ms = reading.decision_ms
    times.total_ms = total_ms = (now_s - request.started) * 1e3
    stage_sum_ms = guard_ms + decode_ms + preprocess_ms + inference_ms + decision_ms
    times.queue_ms = max(total_ms - stage_sum_ms, 0.0)
    return times


def _crop_to_store(
    source: Source, crop: NDArray[np.uint8] | None
) -> tuple[bytes | NDArray[np.uint8] | None, int]:
    """Return what is stored of a crop, and its scale.

    That is the pixels, or the PNG file they came in where that is much smaller; or, of a crop that
    is too large to keep, reduced pixels.
    """
    if crop is None:
        return None, 1
    if crop.size > MAX_CROP_PX:
        return reduce_crop(crop)
    if isinstance(source, bytes) and crop.size - len(source) > MIN_SAVED_BYTES:
        return bare_png(source) or crop, 1
    return crop, 1
