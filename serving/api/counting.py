"""Answered readings -> metrics and traces, after the answer is written."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from model.errors import CropError
from serving.messages import Reading, Request
from serving.reading.site_watch import SiteWatch
from serving.telemetry import Telemetry
from serving.tracing import Tracer


@dataclass(frozen=True, slots=True)
class ReadingCounter:
    """Counts and traces the readings of each answer, and notes them for the site's judge."""

    telemetry: Telemetry
    tracer: Tracer
    watch: SiteWatch | None

    def count_soon(self, request: Request, readings: Sequence[Reading | CropError]) -> None:
        """Count these readings after the event loop has written their answer.

        The caller does not wait for the counting (`python -m loadtest bench --parts latency`).
        """
        total_ms = (time.perf_counter() - request.started) * 1e3
        kept = [one for one in readings if isinstance(one, Reading)]
        asyncio.get_running_loop().call_soon(self._count, request, kept, total_ms)

    def _count(self, request: Request, readings: Sequence[Reading], total_ms: float) -> None:
        """Count and trace readings."""
        self.telemetry.on_readings(readings, request.site, request.guard_ms)
        if self.watch is not None:
            self.watch.note(request.site, readings)
        if readings and self.tracer.wants():
            self.tracer.record(
                readings[0],
                request_id=request.id,
                endpoint="read",
                guard_ms=request.guard_ms,
                total_ms=total_ms,
            )
