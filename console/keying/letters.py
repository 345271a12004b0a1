"""A letter as a person gets it, and giving one back that the person has keyed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from capture.label_event import AUDIT, DIGITS
from console.keying.leases import LEASE_US, NUM_UNDO, session_of
from console.keying.votes import asked_of, undo_votes
from console.sessions import SignedIn
from console.tables import CropRow, LetterRow, VoteRow

NO_DIGIT: Final = "?"  # shown of a crop that has no digit and that nobody is asked about now
MAX_WAITING: Final = 1_000  # more are counted as this, so that the count stays cheap


@dataclass(frozen=True, slots=True)
class ShownCrop:
    """A crop; digit is None where the person is asked."""

    crop_index: int
    digit: str | None
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter that is leased to a person."""

    read_id: str
    crops: tuple[ShownCrop, ...]
    is_blind: bool  # a marked crop is asked: no directory may answer for the person
    lease_until_us: int
    deadline_us: int | None


def letter_of(database: Session, row: LetterRow, who: str) -> Letter:
    """What a person is shown of a letter."""
    asked = asked_of(database, row.read_id, who)
    query = select(
        CropRow.crop_index, CropRow.digit, CropRow.how, CropRow.label, CropRow.width,
        CropRow.height,
    )  # fmt: skip
    crops = database.execute(
        query.where(CropRow.read_id == row.read_id).order_by(CropRow.crop_index)
    ).all()
    shown = []
    for index, digit, how, label, width, height in crops:
        known = digit if how is None else label
        text = None if index in asked else known if known in DIGITS else NO_DIGIT
        shown.append(ShownCrop(index, text, width, height))
    is_blind = any(how == AUDIT for _, _, how, *_ in crops)
    return Letter(row.read_id, tuple(shown), is_blind, row.lease_until_us, row.deadline_us)


def find_letter(database: Session, read_id: str) -> LetterRow | None:
    """A letter's row."""
    return database.get(LetterRow, read_id)


def picture_of(database: Session, read_id: str, index: int) -> bytes | None:
    """A crop's PNG."""
    return database.scalar(
        select(CropRow.picture).where(CropRow.read_id == read_id, CropRow.crop_index == index)
    )


def waiting(database: Session, now_us: int) -> int:
    """Open letters that nobody has now; counted up to MAX_WAITING."""
    free = select(LetterRow.read_id).where(
        LetterRow.closed_us.is_(None), LetterRow.lease_until_us <= now_us
    )
    return (
        database.scalar(select(func.count()).select_from(free.limit(MAX_WAITING).subquery())) or 0
    )


def undo(database: Session, read_id: str, person: SignedIn, now_us: int) -> str:
    """Give a letter back to the person who keyed it; returns why not, or an empty text."""
    who = person.who
    if read_id not in _last_letters(database, who):
        return f"This letter is not among the last {NUM_UNDO} that you keyed."
    letter = database.scalar(
        select(LetterRow).where(LetterRow.read_id == read_id).with_for_update()
    )
    if letter is None:
        return "The letter is erased; there is nothing to undo."
    if letter.leased_by != who and letter.lease_until_us > now_us:
        return "Somebody else has this letter now; it cannot be given back."
    undo_votes(database, read_id, who)
    letter.leased_by, letter.leased_in = who, session_of(person)
    letter.lease_until_us, letter.closed_us = now_us + LEASE_US, None
    database.flush()
    return ""


def _last_letters(database: Session, who: str) -> Sequence[str]:
    latest = func.max(VoteRow.when_us)
    return database.scalars(
        select(VoteRow.read_id)
        .where(VoteRow.who == who)
        .group_by(VoteRow.read_id)
        .order_by(latest.desc())
        .limit(NUM_UNDO)
    ).all()
