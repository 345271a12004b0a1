"""Delivers one event: to a log, a file, a webhook, SNS or a mail server. Has no retries."""

from __future__ import annotations

import json
import logging
import os
import smtplib
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from monitoring.events import Event
from monitoring.findings import Severity

log = logging.getLogger(__name__)

_TIMEOUT_S = 10

Deliver = Callable[[Event], None]


class SinkError(RuntimeError):
    """A sink did not accept an event."""


def open_sink(sink: str) -> Deliver:
    """Make the delivery function of one entry in DIGITS_ALERTS.

    ``log:``, ``file:PATH``, ``https://...`` (a webhook; Slack, Teams and Mattermost accept it),
    ``sns:ARN``, ``smtp://[user@]host[:port]/?from=a@b&to=c@d`` (password in DIGITS_SMTP_PASSWORD,
    STARTTLS when there is a user).

    Raises:
        ValueError: the scheme is none of these.
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
        raise ValueError(f"{sink!r} is no alert sink; use one of {', '.join(kinds)}")
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
        sink, json.dumps(body).encode(), {"Content-Type": "application/json"}
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
