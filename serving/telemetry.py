"""Metrics of one worker: for Prometheus, and as a line a minute for CloudWatch."""

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

from capture.site_states import SiteState
from contract import emf
from contract.metrics import SERVING
from model.artifact import Artifact
from serving.config import Settings
from serving.messages import BatchStats, Compared, Reading, RequestLabels

METRICS_CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
# Observe the stage times of every 8th crop; each needs five histograms.
STAGE_SAMPLE_EVERY: Final = 8
_LATENCY_BUCKETS: Final = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
)  # fmt: skip
_STAGE_BUCKETS: Final = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25)
_CONFIDENCE_BUCKETS: Final = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
_BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_EMF_PERIOD_S: Final = 60.0


class Telemetry:
    """Counts and exports the metrics of one worker process.

    Args:
        settings: embedded metrics.
        model: the champion.
    """

    def __init__(self, settings: Settings, model: Artifact) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter(
            "requests", "Requests answered.", ("endpoint", "site", "status")
        )
        self._repeated = self._counter(
            "repeated_requests", "Requests that their client sent before, by why.", ("kind",)
        )
        self._shed = self._counter("shed", "Requests refused for load, by reason.", ("reason",))
        self._decisions = self._counter("decisions", "Crops by outcome.", ("outcome", "site"))
        self._digits = self._counter("digit", "Crops read, by digit.", ("digit",))
        self._duration = self._histogram(
            "request_duration_seconds",
            "Arrival to answer; traffic is scanner, bulk or other.",
            _LATENCY_BUCKETS,
            ("endpoint", "traffic"),
        )
        self._stage = self._histogram(
            "stage_duration_seconds",
            f"Time in one stage, of every {STAGE_SAMPLE_EVERY}th crop, once a request at most.",
            _STAGE_BUCKETS,
            ("stage",),
        )
        self._batch_size = self._histogram("batch_size", "Crops a batch.", _BATCH_BUCKETS)
        self._queue_wait = self._histogram(
            "queue_wait_seconds", "Waiting for the model.", _STAGE_BUCKETS
        )
        self._confidence = self._histogram(
            "confidence", "Top probability of crops with ink.", _CONFIDENCE_BUCKETS
        )
        self._site_on_hold = self._gauge(
            "site_on_hold", "1 while a site's reads are not accepted.", "livemax", ("site",)
        )
        self._site_trips = self._counter(
            "site_trips", "Times a site stopped being like itself.", ("site", "reason")
        )
        self._shadow_reads = self._counter(
            "shadow_reads",
            "Crops that a challenger read too, by how its answer differs.",
            ("champion", "challenger", "result"),
        )
        self._shadow_dropped = self._counter(
            "shadow_dropped", "Crops that the challenger had no time for.", ()
        )
        self.in_flight = self._gauge("in_flight", "Requests being answered.", "livesum")
        self._gauge("workers", "Worker processes that serve.", "livesum").set(1)
        self.ready = self._gauge("ready", "1 when the last readiness check passed.", "livemin")
        self._info = self._gauge(
            "model_info", "1 for the model served.", "livemax", ("version", "sha256")
        )
        self._swaps = self._counter("champion_swaps", "Times the champion was exchanged.", ())
        self._refused = self._gauge(
            "champion_refused", "1 while a new champion is refused.", "livemax"
        )
        self._name_model(model, is_served=True)
        self._children: dict[tuple[Any, ...], Any] = {}
        self._num_readings = self._num_in_flight = 0
        self._keys_read_s = time.monotonic()
        self._emf = EmfWriter(version=settings.release) if settings.emf else None

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(f"digits_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, mode: Any, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(f"digits_{name}", text, labels, registry=self.registry, multiprocess_mode=mode)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()
    ) -> "BatchHistogram":
        return BatchHistogram(
            f"digits_{name}", text, labels, registry=self.registry, buckets=buckets
        )

    def _labelled_metric(self, metric: Any, *labels: str) -> Any:
        # prometheus_client's own look-up locks and builds strings: 1 us a call
        # (python -m loadtest bench --parts saturation).
        key = (metric, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child

    def _name_model(self, model: Artifact, *, is_served: bool) -> None:
        self._info.labels(model.version, model.sha256[:12]).set(is_served)

    def on_swap(self, old: Artifact, new: Artifact) -> None:
        """The champion was exchanged."""
        self._name_model(old, is_served=False)
        self._name_model(new, is_served=True)
        self._swaps.inc()

    def on_refused(self, is_refused: bool) -> None:  # noqa: FBT001  a callback
        """A new champion was refused, or is not there any more."""
        self._refused.set(is_refused)

    def on_compared(self, compared: Sequence[Compared]) -> None:
        """A challenger has read crops that the champion has answered."""
        for one in compared:
            self._shadow_reads.labels(one.champion_version, one.version, one.result).inc()

    def on_shadow_dropped(self, number: int) -> None:
        """A challenger had no time for crops."""
        self._shadow_dropped.inc(number)

    def on_request(self, labels: RequestLabels, status: int, seconds: float) -> None:
        """One request has been answered."""
        self._labelled_metric(self._requests, labels.endpoint, labels.site, str(status)).inc()
        self._labelled_metric(self._duration, labels.endpoint, labels.traffic).observe(seconds)
        if self._emf is not None:
            self._emf.add("Requests")
            if status >= 500:
                self._emf.add("Errors")

    def on_repeated(self, kind: Literal["retry", "hedge"]) -> None:
        """A client sends a request for the second time."""
        self._labelled_metric(self._repeated, kind).inc()

    def on_shed(self, reason: str) -> None:
        """One request was refused for load."""
        self._labelled_metric(self._shed, reason).inc()
        if self._emf is not None:
            self._emf.add("Shed")

    def on_readings(self, readings: Sequence[Reading], site: str, guard_ms: float) -> None:
        """Crops of one request have been decided."""
        outcomes = Counts(one.decision.rejected_because or "accepted" for one in readings)
        for name, number in outcomes.items():
            self._labelled_metric(self._decisions, name, site).inc(number)
            if self._emf is not None:
                self._emf.add("Accepted" if name == "accepted" else "Rejected", number)
        with_ink = [one for one in readings if one.decision.digit is not None]
        if not with_ink:
            return
        for digit, number in Counts(one.decision.digit for one in with_ink).items():
            self._labelled_metric(self._digits, str(digit)).inc(number)
        self._confidence.observe_all([one.decision.confidence for one in with_ink])
        before = self._num_readings // STAGE_SAMPLE_EVERY
        self._num_readings += len(with_ink)
        if self._num_readings // STAGE_SAMPLE_EVERY > before:
            for stage, milliseconds in stages(with_ink[-1], guard_ms):
                self._labelled_metric(self._stage, stage).observe(milliseconds / 1e3)

    def on_site(self, state: SiteState, has_tripped: bool) -> None:  # noqa: FBT001  a callback
        """A site has tripped or was released; `has_tripped`: in this process, just now."""
        incident = state.incident
        if incident is None:
            return
        self._labelled_metric(self._site_on_hold, state.site).set(state.status == "hold")
        if has_tripped and state.status != "ok":
            self._labelled_metric(self._site_trips, state.site, incident.reason).inc()
            if self._emf is not None:
                self._emf.add("SiteTrips")

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
        if self._emf is not None:
            gauges = {"InFlight": num_in_flight, "KeysAgeSeconds": round(now - self._keys_read_s)}
            self._emf.flush_if_due(gauges, now)

    def exposition(self) -> bytes:
        """The metrics of all workers in Prometheus' text format."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        merged = CollectorRegistry()
        MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
        return generate_latest(merged)


def stages(reading: Reading, guard_ms: float) -> tuple[tuple[str, float], ...]:
    """(stage, milliseconds) in the order in which a crop goes through them."""
    return (
        ("guard", guard_ms),
        ("decode", reading.decode_ms),
        ("preprocess", reading.preprocess_ms),
        ("inference", reading.inference_ms),
        ("decision", reading.decision_ms),
    )


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
