"""Leases: a letter is one person's for a minute, and nobody else's."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, and_, exists, or_, select, update
from sqlalchemy.orm import Session

from console.sessions import SignedIn
from console.tables import CropRow, LetterRow, VoteRow

LEASE_US: Final = 60_000_000
_LONGEST_US: Final = 2 * LEASE_US  # two consoles' clocks may be a minute apart
NUM_UNDO: Final = 20
# A letter whose deadline is nearer cannot be keyed before it: `contract.costs` assumes 3 s a crop.
KEYING_US: Final = 3_000_000


def is_free(until_us: int, now_us: int) -> bool:
    """Whether a lease has ended; none lasts so long that it ends in two minutes.

    One that does is of a clock that was ahead and was set back.
    """
    return not now_us < until_us <= now_us + _LONGEST_US


def is_free_row(now_us: int) -> ColumnElement[bool]:
    """The same of rows."""
    return or_(LetterRow.lease_until_us <= now_us, LetterRow.lease_until_us > now_us + _LONGEST_US)


def session_of(person: SignedIn) -> str:
    """A name of a person's session; the token that it is made of stays secret."""
    return hashlib.sha256(person.csrf.encode()).hexdigest()[:16]


def lease(database: Session, person: SignedIn, num: int, now_us: int) -> list[LetterRow]:
    """Give a session of a person up to `num` letters: first those that it has, then others.

    Of the others those come first whose deadline can still be met, soonest first; then the rest,
    oldest first.
    """
    held = database.scalars(
        select(LetterRow)
        .where(
            LetterRow.leased_by == person.who,
            LetterRow.leased_in == session_of(person),
            ~is_free_row(now_us),
            LetterRow.closed_us.is_(None),
        )
        .order_by(
            LetterRow.deadline_us.is_(None),
            LetterRow.deadline_us,
            LetterRow.time_us,
            LetterRow.read_id,
        )
        .limit(num)
    ).all()
    taken = list(held)
    in_time = LetterRow.deadline_us > now_us + KEYING_US
    late = or_(LetterRow.deadline_us.is_(None), LetterRow.deadline_us <= now_us + KEYING_US)
    for chosen, order in ((in_time, LetterRow.deadline_us), (late, LetterRow.time_us)):
        if len(taken) < num:
            query = (
                select(LetterRow)
                .where(
                    LetterRow.closed_us.is_(None),
                    chosen,
                    is_free_row(now_us),
                    _may_be_asked(person.who),
                )
                .order_by(order, LetterRow.read_id)
                .limit(num - len(taken))
                .with_for_update(skip_locked=True)
            )
            taken += database.scalars(query).all()
    for letter in taken[len(held) :]:
        letter.leased_by, letter.leased_in = person.who, session_of(person)
        letter.lease_until_us = now_us + LEASE_US
    database.flush()
    return taken


def _may_be_asked(who: str) -> ColumnElement[bool]:
    """The person has not labelled each crop that is asked."""
    own = exists().where(
        VoteRow.read_id == CropRow.read_id,
        VoteRow.crop_index == CropRow.crop_index,
        VoteRow.who == who,
        VoteRow.is_undone.is_(False),
    )
    return exists().where(
        CropRow.read_id == LetterRow.read_id,
        CropRow.how.is_not(None),
        CropRow.label.is_(None),
        ~own,
    )


def prolong(database: Session, who: str, read_ids: Sequence[str], now_us: int) -> dict[str, int]:
    """Prolong leases; returns until when each is that has neither passed on nor ended."""
    return _set_leases(database, who, read_ids, now_us + LEASE_US)


def release(database: Session, who: str, read_ids: Sequence[str]) -> dict[str, int]:
    """Give letters back before their lease ends."""
    return _set_leases(database, who, read_ids, 0)


def _set_leases(
    database: Session, who: str, read_ids: Sequence[str], until_us: int
) -> dict[str, int]:
    own = and_(
        LetterRow.read_id.in_(read_ids),
        LetterRow.leased_by == who,
        LetterRow.lease_until_us > 0,
        LetterRow.closed_us.is_(None),
    )
    found = database.scalars(select(LetterRow.read_id).where(own).with_for_update()).all()
    database.execute(
        update(LetterRow).where(LetterRow.read_id.in_(found)).values(lease_until_us=until_us)
    )
    return dict.fromkeys(found, until_us)
