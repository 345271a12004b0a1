"""The audit log: who wrote what through the console, and when."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from console.sessions import SignedIn
from console.tables import AuditRow


def add(
    database: Session,
    person: SignedIn,
    action: str,
    subject: str,
    details: Mapping[str, object],
    *,
    at_us: int,
) -> None:
    """Note one write, in the transaction that makes it.

    Args:
        database: an open transaction; the caller commits it.
        person: who writes.
        action: a verb and a noun: "release site".
        subject: what it was done to: a site, a read id, a model version.
        details: anything else, as JSON; no pixels.
        at_us: now, microseconds since 1970.
    """
    database.add(
        AuditRow(
            at_us=at_us,
            who=person.who,
            source=person.source,
            action=action,
            subject=subject,
            details=json.dumps(details, sort_keys=True),
        )
    )


def latest(database: Session, num: int) -> Sequence[AuditRow]:
    """The newest entries, newest first."""
    return database.scalars(select(AuditRow).order_by(AuditRow.number.desc()).limit(num)).all()


def of_subject(database: Session, subject: str, num: int) -> Sequence[AuditRow]:
    """The newest entries about one site, read or model, newest first."""
    wanted = select(AuditRow).where(AuditRow.subject == subject)
    return database.scalars(wanted.order_by(AuditRow.number.desc()).limit(num)).all()
