"""Traces of sampled requests, exported by OpenTelemetry."""

import random
import time
from typing import Any, Final

from serving.config import Settings
from serving.messages import Reading
from serving.telemetry import stages

_EXPORT_WITHIN_S: Final = 2.0  # a dead collector delays shutdown by this at most


class Tracer:
    """Spans of sampled requests, made after the answer so that the others cost nothing."""

    def __init__(self, settings: Settings) -> None:
        self._sample_frac = settings.trace_sample_frac if settings.otlp_endpoint else 0.0
        self._provider: Any = None
        self._tracer: Any = None
        if self._sample_frac > 0:
            self._provider = _make_provider(settings)
            self._tracer = self._provider.get_tracer("serving")

    def wants(self) -> bool:
        """Whether this request is in the sample."""
        return self._sample_frac > 0 and random.random() < self._sample_frac  # noqa: S311

    def close(self) -> None:
        """Export what is left; stop waiting for a collector that does not answer."""
        if self._provider is not None:
            self._provider.shutdown()

    def record(
        self, reading: Reading, *, request_id: str, endpoint: str, guard_ms: float, total_ms: float
    ) -> None:
        """Export one request as a span with its five stages below it."""
        end_ns = time.time_ns()
        start_ns = end_ns - int(total_ms * 1e6)
        from opentelemetry import trace

        root = self._tracer.start_span(
            endpoint, start_time=start_ns, attributes={"digits.request_id": request_id}
        )
        context = trace.set_span_in_context(root)
        stage_ns = start_ns
        for stage, milliseconds in stages(reading, guard_ms):
            if stage == "inference":  # the gap after preprocess is the queue wait
                stage_ns = max(
                    stage_ns,
                    end_ns - int((milliseconds + reading.decision_ms) * 1e6),
                )
            span = self._tracer.start_span(stage, context=context, start_time=stage_ns)
            stage_ns += int(milliseconds * 1e6)
            span.end(stage_ns)
        root.end(end_ns)


def _make_provider(settings: Settings) -> Any:
    # 12 MB and 0.1 s of imports that only a traced service should pay for.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "digits"}))
    provider.add_span_processor(
        BatchSpanProcessor(
            OTLPSpanExporter(endpoint=settings.otlp_endpoint, timeout=_EXPORT_WITHIN_S)
        )
    )
    return provider
