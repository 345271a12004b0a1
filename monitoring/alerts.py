"""Notifies people of changes: events are deduplicated and wait in an outbox for their sinks.

    alerts/state.json                 the last notification of each topic
    alerts/outbox/EVENT-SINK.json     not delivered yet; deleted once the sink accepted it

Both are stored beside the reports, so a task that ends loses no event when a sink is down.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
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
class LastNotice:
    """What people were last notified of, for one topic."""

    severity: int
    since: str
    sites: tuple[str, ...]


def is_change(last: LastNotice | None, severity: Severity, sites: Sequence[str]) -> bool:
    """True for a new severity, and when a site is named anew or no longer."""
    if last is None:
        return severity > Severity.CALM
    return severity != last.severity or set(sites) != set(last.sites)


def notify(
    store: Store, sinks: Sequence[str], event: Event, *, judged: Collection[str] = ()
) -> bool:
    """Put an event into the outbox, once for each sink, if it is a change.

    Args:
        store: where the reports are.
        sinks: as in DIGITS_ALERTS.
        event: its `since` is replaced by the start of the problem that it continues or ends; what
            became of sites that are no longer named is added.
        judged: the sites that had enough mail to be judged. Of the others nothing is known.

    Returns:
        Whether it was a change.
    """
    state = _read_state(store)
    last = state.get(event.topic)
    severity = Severity(event.severity)
    if not is_change(last, severity, event.sites):
        return False
    since = last.since if last is not None else event.since
    no_longer = set(last.sites) - set(event.sites) if last is not None else set()
    enqueue(store, sinks, _with_ended(replace(event, since=since), no_longer, judged))
    if severity == Severity.CALM:
        state.pop(event.topic)
    else:
        state[event.topic] = LastNotice(event.severity, since, event.sites)
    _write_state(store, state)
    return True


def _with_ended(event: Event, no_longer: Collection[str], judged: Collection[str]) -> Event:
    """Say what became of sites that were named before; the event of an end names them as its own.

    A site with too little mail has not recovered: it was not judged.
    """
    endings = (
        f"site {site}: "
        + ("nothing stands out any more" if site in judged else "too little mail to be judged")
        for site in sorted(no_longer)
    )
    sites = event.sites or tuple(sorted(no_longer))
    return replace(event, details=(*event.details, *endings), sites=sites)


def enqueue(store: Store, sinks: Sequence[str], event: Event) -> None:
    """Put an event into the outbox, once for each sink, even if it is not a change."""
    for sink in sinks:
        name = hashlib.sha256(sink.encode()).hexdigest()[:12]
        body = json.dumps({"sink": sink, "event": asdict(event)})
        store.put(f"{OUTBOX}/{event.id}-{name}.json", body.encode(), content_type=_JSON)


def _read_state(store: Store) -> dict[str, LastNotice]:
    try:
        saved = json.loads(store.get(STATE))
    except MissingKey:
        return {}
    return {
        topic: LastNotice(last["severity"], last["since"], tuple(last["sites"]))
        for topic, last in saved.items()
    }


def _write_state(store: Store, state: dict[str, LastNotice]) -> None:
    body = json.dumps({topic: asdict(last) for topic, last in state.items()})
    store.put(STATE, body.encode(), content_type=_JSON)


def flush(store: Store, *, sleep: Callable[[float], None] = time.sleep) -> int:
    """Deliver the outbox. Tries each sink three times; a refused event waits for the next run.

    Delivery is at least once: a kill between delivery and deletion sends the event twice.

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
