"""Who is told what: typed events, deduplicated, kept in an outbox until every sink took them.

    alerts/state.json                 what people were told last
    alerts/outbox/EVENT-SINK.json     told to nobody yet; removed when the sink took it

Both live beside the reports, so a one-off task loses nothing when a sink is down.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import smtplib
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from capture.store import MissingKey, Store
from monitoring.rules import Severity

log = logging.getLogger(__name__)

OUTBOX: Final = "alerts/outbox"
STATE: Final = "alerts/state.json"
_TIMEOUT_S = 10
_RETRY_AFTER_S = (0.0, 1.0, 4.0)

Deliver = Callable[["Event"], None]


class SinkError(RuntimeError):
    """A sink did not take an event."""


@dataclass(frozen=True, slots=True)
class Event:
    """What a person is told. `topic` and `since` name the trouble from its start to its end."""

    topic: str  # drift | missing | retrain
    severity: int  # of `Severity`; CALM is a recovery
    title: str
    details: tuple[str, ...]
    sites: tuple[str, ...]
    since: str  # first day of the trouble
    window: str  # the days that were looked at
    link: str
    to_do: str

    @property
    def id(self) -> str:
        """The same for the same news, so that a repeated run tells nobody twice."""
        said = json.dumps([self.topic, self.severity, self.since, self.window, self.sites])
        return hashlib.sha256(said.encode()).hexdigest()[:20]

    def text(self) -> str:
        """The event as plain text."""
        lines = [self.title, "", *(f"- {detail}" for detail in self.details)]
        if self.sites:
            lines.append(f"Sites: {', '.join(self.sites)}")
        lines += [f"Since: {self.since}", f"What to do: {self.to_do}", f"Report: {self.link}"]
        return "\n".join(lines)


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


_JSON = "application/json"


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


def open_sink(sink: str) -> Deliver:
    """Turn one word of DIGITS_ALERTS into a way to tell.

    ``log:``, ``file:PATH``, ``https://...`` (a webhook; Slack, Teams and Mattermost take it),
    ``sns:ARN``, ``smtp://[user@]host[:port]/?from=a@b&to=c@d`` (password in DIGITS_SMTP_PASSWORD,
    STARTTLS when there is a user).

    Raises:
        ValueError: none of these.
    """
    scheme = urlsplit(sink).scheme
    kinds: dict[str, Callable[[str, Event], None]] = {
        "log": _to_log,
        "file": _to_file,
        "http": _to_webhook,
        "https": _to_webhook,
        "sns": _to_sns,
        "smtp": _to_smtp,
    }
    if scheme not in kinds:
        raise ValueError(f"{sink!r} is no alert sink; give one of {', '.join(kinds)}")
    kind = kinds[scheme]
    return lambda event: kind(sink, event)


def _to_log(_sink: str, event: Event) -> None:
    level = logging.INFO if event.severity == Severity.CALM else logging.WARNING
    log.log(level, "ALERT %s", json.dumps(asdict(event)))


def _to_file(sink: str, event: Event) -> None:
    path = Path(sink.removeprefix("file:"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps(asdict(event)) + "\n")
    except OSError as error:
        raise SinkError(f"alert file {path}: {error}") from error


def _to_webhook(sink: str, event: Event) -> None:
    body: dict[str, Any] = {"text": event.text(), "event": asdict(event)}
    request = urllib.request.Request(  # noqa: S310 - http and https only, see open_sink
        sink, json.dumps(body).encode(), {"Content-Type": _JSON}
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):  # noqa: S310 - as above
            pass
    except urllib.error.HTTPError as error:
        error.close()
        raise SinkError(f"webhook at {urlsplit(sink).hostname}: {error}") from error
    except OSError as error:
        raise SinkError(f"webhook at {urlsplit(sink).hostname}: {error}") from error


def _to_sns(sink: str, event: Event) -> None:
    try:
        boto3.client("sns").publish(
            TopicArn=sink.removeprefix("sns:"), Subject=event.title[:100], Message=event.text()
        )
    except (BotoCoreError, ClientError) as error:
        raise SinkError(f"SNS: {error}") from error


def _to_smtp(sink: str, event: Event) -> None:
    parts = urlsplit(sink)
    options = parse_qs(parts.query)
    message = EmailMessage()
    message["Subject"], message["From"] = event.title, options["from"][0]
    message["To"] = ", ".join(options["to"])
    message.set_content(event.text())
    try:
        with smtplib.SMTP(parts.hostname or "", parts.port or 25, timeout=_TIMEOUT_S) as server:
            if parts.username:
                server.starttls()
                server.login(parts.username, os.environ.get("DIGITS_SMTP_PASSWORD", ""))
            server.send_message(message)
    except (smtplib.SMTPException, OSError) as error:
        raise SinkError(f"SMTP at {parts.hostname}: {error}") from error
