"""Commands in the database: asked for, running, ended; never two that run.

A running command holds the only slot. Its console notes every second that it sees it; one that
nobody has seen for a while is unknown, because its console was killed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, Literal, cast

from sqlalchemy import CursorResult, and_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from console.sessions import SignedIn
from console.tables import ActionRow
from console.versions.action_commands import Command

Ended = Literal["done", "failed", "stopped"]
ASKED, RUNNING, UNKNOWN = "asked", "running", "unknown"
ASKED_FOR_S: Final = 3600.0  # a request that was not confirmed for longer counts no more
UNSEEN_S: Final = 20.0
_SLOT: Final = 1


class Busy(Exception):
    """Another command runs."""


def ask(database: Session, command: Command, person: SignedIn, *, now_us: int) -> int:
    """Note what somebody wants to run; returns its number. Nothing runs yet."""
    row = ActionRow(
        kind=command.kind,
        subject=command.subject,
        why=command.why,
        who=person.who,
        source=person.source,
        arguments=json.dumps(command.arguments),
        about=command.about,
        state=ASKED,
        asked_us=now_us,
        seen_us=now_us,
        output="",
    )
    database.add(row)
    database.flush()
    return row.number


def begin(database: Session, number: int, *, now_us: int) -> bool:
    """Take the slot for a command; False where it was begun before.

    Raises:
        Busy: another command has the slot.
    """
    statement = (
        update(ActionRow)
        .where(ActionRow.number == number, ActionRow.state == ASKED)
        .values(state=RUNNING, slot=_SLOT, seen_us=now_us)
    )
    try:
        result = cast(CursorResult[object], database.execute(statement))
    except IntegrityError as error:
        raise Busy from error
    return result.rowcount == 1


def seen(database: Session, number: int, output: str, *, now_us: int) -> None:
    """Note that a command still runs, and what it has written."""
    database.execute(
        update(ActionRow)
        .where(ActionRow.number == number, ActionRow.state == RUNNING)
        .values(seen_us=now_us, output=output)
    )


def end(
    database: Session, number: int, state: Ended, exit_code: int | None, output: str, *, now_us: int
) -> None:
    """Note how a command ended, and free the slot."""
    database.execute(
        update(ActionRow)
        .where(ActionRow.number == number)
        .values(state=state, exit_code=exit_code, output=output, slot=None, seen_us=now_us)
    )


def mark_unknown(database: Session, *, now_us: int) -> None:
    """Free the slot of a command whose console is gone; writes only where there is one."""
    unseen_us = int(UNSEEN_S * 1e6)  # also ahead: of a clock that was set back since
    is_seen = ActionRow.seen_us.between(now_us - unseen_us, now_us + unseen_us)
    is_unseen = and_(ActionRow.state == RUNNING, ~is_seen)
    if database.scalar(select(ActionRow.number).where(is_unseen).limit(1)) is not None:
        database.execute(update(ActionRow).where(is_unseen).values(state=UNKNOWN, slot=None))


def find(database: Session, number: int) -> ActionRow | None:
    """One command."""
    return database.get(ActionRow, number)


def latest(database: Session, num: int) -> Sequence[ActionRow]:
    """The newest commands that were run, newest first."""
    wanted = select(ActionRow).where(ActionRow.state != ASKED)
    return database.scalars(wanted.order_by(ActionRow.number.desc()).limit(num)).all()


def running(database: Session) -> ActionRow | None:
    """The command that runs now."""
    return database.scalar(select(ActionRow).where(ActionRow.slot == _SLOT))
