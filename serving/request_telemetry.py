"""Metrics of one worker, whatever it serves: for Prometheus, and a line a minute for CloudWatch.

Knows nothing about what is read or answered.
"""

import math
import os
import sys
import time
from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from contract import emf
from contract.metrics import SERVING
from serving.config import Settings
from serving.messages import BatchStats, Model, RequestLabels, Versioned

METRICS_CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
_LATENCY_BUCKETS: Final = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
)  # fmt: skip
STAGE_BUCKETS: Final = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25)
_BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_EMF_PERIOD_S: Final = 60.0


class RequestTelemetry:
    """Counts and exports the metrics of one worker process.

    Args:
        settings: embedded metrics.
        model: the champion.
    """

    def __init__(self, settings: Settings, model: Versioned) -> None:
        self.registry = CollectorRegistry()
        self._requests = self.counter(
            "requests", "Requests answered.", ("endpoint", "site", "status")
        )
        self._repeated = self.counter(
            "repeated_requests", "Requests that their client sent before, by why.", ("kind",)
        )
        self._shed = self.counter("shed", "Requests refused for load, by reason.", ("reason",))
        self._duration = self.histogram(
            "request_duration_seconds",
            "Arrival to answer; traffic is scanner, bulk or other.",
            _LATENCY_BUCKETS,
            ("endpoint", "traffic"),
        )
        self._batch_size = self.histogram("batch_size", "Items a batch.", _BATCH_BUCKETS)
        self._queue_wait = self.histogram(
            "queue_wait_seconds", "Waiting for the model.", STAGE_BUCKETS
        )
        self.in_flight = self.gauge("in_flight", "Requests being answered.", "livesum")
        self.gauge("workers", "Worker processes that serve.", "livesum").set(1)
        self.ready = self.gauge("ready", "1 when the last readiness check passed.", "livemin")
        self._info = self.gauge(
            "model_info", "1 for the model served.", "livemax", ("version", "sha256")
        )
        self._swaps = self.counter("champion_swaps", "Times the champion was exchanged.", ())
        self._refused = self.gauge(
            "champion_refused", "1 while a new champion is refused.", "livemax"
        )
        self._name_model(model, is_served=True)
        self._children: dict[tuple[Any, ...], Any] = {}
        self._num_in_flight = 0
        self._keys_read_s = time.monotonic()
        self.emf = EmfWriter(version=settings.release) if settings.emf else None

    def counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        """Add a counter; its name gets our prefix."""
        return Counter(f"digits_{name}", text, labels, registry=self.registry)

    def gauge(self, name: str, text: str, mode: Any, labels: tuple[str, ...] = ()) -> Gauge:
        """Add a gauge; `mode` says how those of several workers are merged."""
        return Gauge(f"digits_{name}", text, labels, registry=self.registry, multiprocess_mode=mode)

    def histogram(
        self, name: str, text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()
    ) -> "BatchHistogram":
        """Add a histogram."""
        return BatchHistogram(
            f"digits_{name}", text, labels, registry=self.registry, buckets=buckets
        )

    def labelled_metric(self, metric: Any, *labels: str) -> Any:
        """The child of a metric with these labels."""
        # prometheus_client's own look-up locks and builds strings: 1 us a call
        # (python -m loadtest bench --parts saturation).
        key = (metric, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child

    def _name_model(self, model: Versioned, *, is_served: bool) -> None:
        self._info.labels(model.version, model.sha256[:12]).set(is_served)

    def on_swap(self, old: Versioned, new: Versioned) -> None:
        """The champion was exchanged."""
        self._name_model(old, is_served=False)
        self._name_model(new, is_served=True)
        self._swaps.inc()

    def on_refused(self, is_refused: bool) -> None:  # noqa: FBT001  a callback
        """A new champion was refused, or is not there any more."""
        self._refused.set(is_refused)

    def on_request(self, labels: RequestLabels[Model], status: int, seconds: float) -> None:
        """One request has been answered."""
        self.labelled_metric(self._requests, labels.endpoint, labels.site, str(status)).inc()
        self.labelled_metric(self._duration, labels.endpoint, labels.traffic).observe(seconds)
        if self.emf is not None:
            self.emf.add("Requests")
            if status >= 500:
                self.emf.add("Errors")

    def on_repeated(self, kind: Literal["retry", "hedge"]) -> None:
        """A client sends a request for the second time."""
        self.labelled_metric(self._repeated, kind).inc()

    def on_shed(self, reason: str) -> None:
        """One request was refused for load."""
        self.labelled_metric(self._shed, reason).inc()
        if self.emf is not None:
            self.emf.add("Shed")

    def on_batch(self, stats: BatchStats) -> None:
        """One batch has been read."""
        self._batch_size.observe(stats.num_items)
        self._queue_wait.observe(max(stats.queue_waits_s))

    def on_keys_read(self) -> None:
        """The API keys in force are those of their source, just now."""
        self._keys_read_s = time.monotonic()

    def tick(self, num_in_flight: int, now: float) -> None:
        """Called a few times a second, for what is sampled rather than counted."""
        if num_in_flight != self._num_in_flight:  # a gauge is shared memory, behind a lock
            self._num_in_flight = num_in_flight
            self.in_flight.set(num_in_flight)
        if self.emf is not None:
            gauges = {"InFlight": num_in_flight, "KeysAgeSeconds": round(now - self._keys_read_s)}
            self.emf.flush_if_due(gauges, now)

    def exposition(self) -> bytes:
        """The metrics of all workers in Prometheus' text format."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        merged = CollectorRegistry()
        MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
        return generate_latest(merged)


class BatchHistogram(Histogram):
    """A histogram that adds many values in one update of each bucket.

    A single `observe` takes two locks and two writes to shared memory: 4 us of the 50 that a crop
    takes (`python -m loadtest bench --parts saturation`). Plain twin: `Histogram.observe`.
    """

    def observe_all(self, amounts: Sequence[float]) -> None:
        """Observe each amount."""
        self._sum.inc(math.fsum(amounts))
        # The first bucket whose upper bound is not below the amount, as in `observe`; no amount
        # is NaN, which the classifier refuses.
        places = Counts(bisect_left(self._upper_bounds, amount) for amount in amounts)
        for place, number in places.items():
            self._buckets[place].inc(number)


class EmfWriter:
    """Counts `contract.metrics.SERVING` and writes them as one EMF line a minute on stdout."""

    def __init__(
        self, write: Callable[[str], object] = sys.stdout.write, *, version: str | None = None
    ) -> None:
        self._write = write
        self._version = version
        self._counts = dict.fromkeys(SERVING, 0)
        self._due = time.monotonic() + _EMF_PERIOD_S

    def add(self, name: str, number: int = 1) -> None:
        """Count."""
        self._counts[name] += number

    def flush_if_due(self, gauges: Mapping[str, int], now: float) -> None:
        """Write counts and gauges when the minute is over; `now` is time.monotonic()."""
        if now < self._due:
            return
        self._due = now + _EMF_PERIOD_S
        values = {**self._counts, **gauges}
        self._counts = dict.fromkeys(SERVING, 0)
        self._write(emf.line(values, version=self._version) + "\n")
