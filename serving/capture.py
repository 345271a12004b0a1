"""Readings -> capture records, before their answer is sent. Knows the spool only by its methods."""

import time

from model.artifact import Artifact
from model.decision import Policy
from monitoring.capture import Spool
from monitoring.records import CaptureRecord, to_uint8
from serving.config import Settings
from serving.messages import Request
from serving.reader import Reading


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

    def keep(self, reading: Reading, request: Request, *, index: int, total_ms: float) -> None:
        """Put one reading on disk.

        Raises:
            SpoolError: it is not on disk; the request must not be answered with 200.
        """
        if self._spool is None or not self._spool.wants(request.id):
            return
        decision, framed = reading.decision, reading.framed
        record = CaptureRecord(
            request_id=request.id,
            index=index,
            time_us=time.time_ns() // 1000,
            site=request.site,
            model_version=self._version,
            digit=decision.digit,
            confidence=decision.confidence,
            accepted=decision.accepted,
            rejected_because=decision.rejected_because,
            threshold=self._threshold,
            garbage=reading.garbage,
            probs=decision.probs,
            image=None if reading.image is None else to_uint8(reading.image),
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
            queue_ms=max(
                total_ms
                - request.guard_ms
                - reading.decode_ms
                - reading.preprocess_ms
                - reading.inference_ms
                - reading.decision_ms,
                0.0,
            ),
            inference_ms=reading.inference_ms,
            decision_ms=reading.decision_ms,
            total_ms=total_ms,
        )
        self._spool.append(record)

    def writable(self) -> bool:
        """Whether the next record could be written."""
        return self._spool is None or self._spool.writable()

    def close(self) -> None:
        """Finish what is on disk; after the last answer."""
        if self._spool is not None:
            self._spool.close()
