"""A letter as a person gets it, and giving one back that the person has keyed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from capture.label_event import AUDIT, DIGITS
from console.keying.keyed import Keyed, load_keyed
from console.keying.leases import LEASE_US, NUM_UNDO, is_free, is_free_row, session_of
from console.keying.votes import undo_votes
from console.sessions import SignedIn
from console.tables import LetterRow, VoteRow

NO_DIGIT: Final = "?"  # shown of a crop that has no digit and that nobody is asked about now
MAX_WAITING: Final = 1_000  # more are counted as this, so that the count stays cheap


@dataclass(frozen=True, slots=True)
class ShownCrop:
    """A crop; digit is None where the person is asked."""

    crop_index: int
    digit: str | None
    width: int
    height: int
    picture: bytes  # PNG


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter that is leased to a person."""

    read_id: str
    crops: tuple[ShownCrop, ...]
    is_blind: bool  # a marked crop is asked: no directory may answer for the person
    lease_until_us: int
    deadline_us: int | None


def letters_of(database: Session, read_ids: Sequence[str], who: str) -> list[Letter]:
    """What a person is shown of letters, in this order; one that was dropped is left out."""
    keyed = load_keyed(database, read_ids, with_pictures=True)
    rows = (keyed.letters.get(one) for one in read_ids)
    return [_letter_of(keyed, row, who) for row in rows if row is not None]


def _letter_of(keyed: Keyed, row: LetterRow, who: str) -> Letter:
    asked = keyed.asked_of(row.read_id, who)
    crops = keyed.crops.get(row.read_id, {})
    shown = []
    for index, crop in crops.items():
        known = crop.digit if crop.how is None else crop.label
        text = None if index in asked else known if known in DIGITS else NO_DIGIT
        shown.append(ShownCrop(index, text, crop.width, crop.height, crop.picture))
    is_blind = any(one.how == AUDIT for one in crops.values())
    return Letter(row.read_id, tuple(shown), is_blind, row.lease_until_us, row.deadline_us)


def waiting(database: Session, now_us: int) -> int:
    """Open letters that nobody has now; counted up to MAX_WAITING."""
    free = select(LetterRow.read_id).where(LetterRow.closed_us.is_(None), is_free_row(now_us))
    return (
        database.scalar(select(func.count()).select_from(free.limit(MAX_WAITING).subquery())) or 0
    )


def undo(database: Session, read_id: str, person: SignedIn, now_us: int) -> str:
    """Give a letter back to the person who keyed it; returns why not, or an empty text."""
    who = person.who
    if read_id not in _last_letters(database, who):
        return f"This letter is not among the last {NUM_UNDO} that you keyed."
    keyed = load_keyed(database, [read_id])
    letter = keyed.letters.get(read_id)
    if letter is None:
        return "The letter is erased; there is nothing to undo."
    if letter.leased_by != who and not is_free(letter.lease_until_us, now_us):
        return "Somebody else has this letter now; it cannot be given back."
    undo_votes(database, keyed, read_id, who)
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
