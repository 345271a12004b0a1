"""Who is told what: typed events, deduplicated, kept in an outbox until every sink took them.

    alerts/state.json                 what people were told last
    alerts/outbox/EVENT-SINK.json     told to nobody yet; removed when the sink took it

Both live beside the reports, so a one-off task loses nothing when a sink is down.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from capture.store import MissingKey, Store
from monitoring.events import Event
from monitoring.findings import Severity
from monitoring.sinks import SinkError, open_sink

log = logging.getLogger(__name__)

OUTBOX: Final = "alerts/outbox"
STATE: Final = "alerts/state.json"
_RETRY_AFTER_S = (0.0, 1.0, 4.0)
_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Told:
    """What people know about a topic."""

    severity: int
    since: str
    sites: tuple[str, ...]


def is_news(told: Told | None, severity: Severity, sites: Sequence[str]) -> bool:
    """Worth telling: another severity, or a site that was not named before."""
    if told is None:
        return severity > Severity.CALM
    return severity != told.severity or bool(set(sites) - set(told.sites))


def tell(store: Store, sinks: Sequence[str], event: Event) -> bool:
    """Put an event into the outbox, once for each sink, when it is news.

    Args:
        store: where the reports are.
        sinks: as in DIGITS_ALERTS.
        event: its `since` is replaced by the start of the trouble it continues or ends.

    Returns:
        Whether it was news.
    """
    state = _read_state(store)
    told = state.get(event.topic)
    severity = Severity(event.severity)
    if not is_news(told, severity, event.sites):
        return False
    since = told.since if told is not None else event.since
    event = Event(**(asdict(event) | {"since": since}))
    announce(store, sinks, event)
    if severity == Severity.CALM:
        state.pop(event.topic)
    else:
        known = told.sites if told is not None else ()
        state[event.topic] = Told(event.severity, since, tuple({*known, *event.sites}))
    _write_state(store, state)
    return True


def announce(store: Store, sinks: Sequence[str], event: Event) -> None:
    """Put an event into the outbox, once for each sink, whatever people were told before."""
    for sink in sinks:
        name = hashlib.sha256(sink.encode()).hexdigest()[:12]
        body = json.dumps({"sink": sink, "event": asdict(event)})
        store.put(f"{OUTBOX}/{event.id}-{name}.json", body.encode(), content_type=_JSON)


def _read_state(store: Store) -> dict[str, Told]:
    try:
        saved = json.loads(store.get(STATE))
    except MissingKey:
        return {}
    return {
        topic: Told(told["severity"], told["since"], tuple(told["sites"]))
        for topic, told in saved.items()
    }


def _write_state(store: Store, state: dict[str, Told]) -> None:
    body = json.dumps({topic: asdict(told) for topic, told in state.items()})
    store.put(STATE, body.encode(), content_type=_JSON)


def flush(store: Store, *, sleep: Callable[[float], None] = time.sleep) -> int:
    """Deliver the outbox, trying each sink three times; what is refused stays for the next run.

    At least once: a kill between the delivery and the removal tells twice.

    Returns:
        Number of deliveries still waiting.
    """
    num_waiting = 0
    broken: set[str] = set()
    for key in store.find(f"{OUTBOX}/"):
        waiting = json.loads(store.get(key))
        sink = waiting["sink"]
        saved = waiting["event"]
        event = Event(**(saved | {name: tuple(saved[name]) for name in ("details", "sites")}))
        if sink in broken or not _deliver(sink, event, sleep):
            broken.add(sink)
            num_waiting += 1
        else:
            store.delete([key])
    return num_waiting


def _deliver(sink: str, event: Event, sleep: Callable[[float], None]) -> bool:
    for wait_s in _RETRY_AFTER_S:
        sleep(wait_s)
        try:
            open_sink(sink)(event)
        except SinkError as error:
            log.warning("%s", error)
        else:
            return True
    return False
