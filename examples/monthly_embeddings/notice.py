"""People are told of each refit, by the sinks of DIGITS_ALERTS. Edge: writes the outbox, sends."""

from __future__ import annotations

from dataclasses import dataclass

from capture.store import Store
from examples.monthly_embeddings.judging import Refitted
from monitoring import alerts
from monitoring.config import from_environment
from monitoring.events import Event
from monitoring.findings import Severity
from training.gate_verdict import Verdict


@dataclass(frozen=True, slots=True, eq=False)
class Notice:
    """What came of a month's refit."""

    month: str
    data_version: str
    version: str | None  # of the new champion; None: the gate refused
    refitted: Refitted
    verdict: Verdict


def tell(store: Store, notice: Notice) -> None:
    """Send one event; what a sink refuses waits in the store for the next. Raises StoreError."""
    alerts.enqueue(store, from_environment().alerts, to_event(notice))
    alerts.flush(store)


def to_event(notice: Notice) -> Event:
    """What people read."""
    found = f"recall@5 {notice.refitted.recall:.3f} on the test share so far"
    if notice.refitted.champion_recall is not None:
        found += f"; the champion before {notice.refitted.champion_recall:.3f}"
    if notice.version is None:
        title = f"Refit of {notice.month}: the gate refused it; the champion stays"
        to_do = (
            f"Look at arrivals/{notice.month}; mend or delete it. The next month's refit takes "
            "what is there then."
        )
    else:
        title = f"Refit of {notice.month}: version {notice.version} is the champion"
        to_do = "Nothing; the service exchanges it."
    details = (f"data {notice.data_version}", found, *map(str, notice.verdict.failures))
    return Event(
        topic="refit",
        severity=Severity.CALM if notice.version else Severity.WATCH,
        title=title,
        details=(*details, *notice.verdict.notes),
        sites=(),
        since=notice.month,
        window=notice.month,
        link=f"{notice.month}",
        to_do=to_do,
    )
