"""The metrics of read crops, beside those of every request."""

from collections import Counter as Counts
from collections.abc import Sequence
from typing import Final

from capture.site_states import SiteState
from serving.config import Settings
from serving.messages import Compared, Reading, Versioned
from serving.request_telemetry import STAGE_BUCKETS, RequestTelemetry

# Observe the stage times of every 8th crop; each needs five histograms.
STAGE_SAMPLE_EVERY: Final = 8
_CONFIDENCE_BUCKETS: Final = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)


class Telemetry(RequestTelemetry):
    """Counts and exports the metrics of one worker process that reads digits.

    Args:
        settings: embedded metrics.
        model: the champion.
    """

    def __init__(self, settings: Settings, model: Versioned) -> None:
        super().__init__(settings, model)
        self._decisions = self.counter("decisions", "Crops by outcome.", ("outcome", "site"))
        self._digits = self.counter("digit", "Crops read, by digit.", ("digit",))
        self._stage = self.histogram(
            "stage_duration_seconds",
            f"Time in one stage, of every {STAGE_SAMPLE_EVERY}th crop, once a request at most.",
            STAGE_BUCKETS,
            ("stage",),
        )
        self._confidence = self.histogram(
            "confidence", "Top probability of crops with ink.", _CONFIDENCE_BUCKETS
        )
        self._site_on_hold = self.gauge(
            "site_on_hold", "1 while a site's reads are not accepted.", "livemax", ("site",)
        )
        self._site_trips = self.counter(
            "site_trips", "Times a site stopped being like itself.", ("site", "reason")
        )
        self._shadow_reads = self.counter(
            "shadow_reads",
            "Crops that a challenger read too, by how its answer differs.",
            ("champion", "challenger", "result"),
        )
        self._shadow_dropped = self.counter(
            "shadow_dropped", "Crops that the challenger had no time for.", ()
        )
        self._num_readings = 0

    def on_compared(self, compared: Sequence[Compared]) -> None:
        """A challenger has read crops that the champion has answered."""
        for one in compared:
            self._shadow_reads.labels(one.champion_version, one.version, one.result).inc()

    def on_shadow_dropped(self, number: int) -> None:
        """A challenger had no time for crops."""
        self._shadow_dropped.inc(number)

    def on_readings(self, readings: Sequence[Reading], site: str, guard_ms: float) -> None:
        """Crops of one request have been decided."""
        outcomes = Counts(one.decision.rejected_because or "accepted" for one in readings)
        for name, number in outcomes.items():
            self.labelled_metric(self._decisions, name, site).inc(number)
            if self.emf is not None:
                self.emf.add("Accepted" if name == "accepted" else "Rejected", number)
        with_ink = [one for one in readings if one.decision.digit is not None]
        if not with_ink:
            return
        for digit, number in Counts(one.decision.digit for one in with_ink).items():
            self.labelled_metric(self._digits, str(digit)).inc(number)
        self._confidence.observe_all([one.decision.confidence for one in with_ink])
        before = self._num_readings // STAGE_SAMPLE_EVERY
        self._num_readings += len(with_ink)
        if self._num_readings // STAGE_SAMPLE_EVERY > before:
            for stage, milliseconds in stages(with_ink[-1], guard_ms):
                self.labelled_metric(self._stage, stage).observe(milliseconds / 1e3)

    def on_site(self, state: SiteState, has_tripped: bool) -> None:  # noqa: FBT001  a callback
        """A site has tripped or was released; `has_tripped`: in this process, just now."""
        incident = state.incident
        if incident is None:
            return
        self.labelled_metric(self._site_on_hold, state.site).set(state.status == "hold")
        if has_tripped and state.status != "ok":
            self.labelled_metric(self._site_trips, state.site, incident.reason).inc()
            if self.emf is not None:
                self.emf.add("SiteTrips")


def stages(reading: Reading, guard_ms: float) -> tuple[tuple[str, float], ...]:
    """(stage, milliseconds) in the order in which a crop goes through them."""
    return (
        ("guard", guard_ms),
        ("decode", reading.decode_ms),
        ("preprocess", reading.preprocess_ms),
        ("inference", reading.inference_ms),
        ("decision", reading.decision_ms),
    )
