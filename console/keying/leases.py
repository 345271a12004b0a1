"""Leases: a letter is one person's for a minute, and nobody else's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, and_, exists, or_, select, update
from sqlalchemy.orm import Session

from console.tables import CropRow, LetterRow, VoteRow

LEASE_US: Final = 60_000_000
NUM_UNDO: Final = 20
# A letter whose deadline is nearer cannot be keyed before it: `contract.costs` assumes 3 s a crop.
KEYING_US: Final = 3_000_000


def lease(database: Session, who: str, num: int, now_us: int) -> list[LetterRow]:
    """Give a person up to `num` letters: first those that the person has, then others.

    Of the others those come first whose deadline can still be met, soonest first; then the rest,
    oldest first.
    """
    held = database.scalars(
        select(LetterRow)
        .where(
            LetterRow.leased_by == who,
            LetterRow.lease_until_us > now_us,
            LetterRow.closed_us.is_(None),
        )
        .order_by(LetterRow.lease_until_us, LetterRow.read_id)
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
                    LetterRow.lease_until_us <= now_us,
                    _may_be_asked(who),
                )
                .order_by(order, LetterRow.read_id)
                .limit(num - len(taken))
                .with_for_update(skip_locked=True)
            )
            taken += database.scalars(query).all()
    for letter in taken[len(held) :]:
        letter.leased_by, letter.lease_until_us = who, now_us + LEASE_US
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
    """Prolong leases that have passed to nobody else; returns until when each is, 0: no longer."""
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
        LetterRow.closed_us.is_(None),
    )
    found = database.scalars(select(LetterRow.read_id).where(own).with_for_update()).all()
    database.execute(
        update(LetterRow).where(LetterRow.read_id.in_(found)).values(lease_until_us=until_us)
    )
    return {one: until_us if one in found else 0 for one in read_ids}
