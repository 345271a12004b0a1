"""What people have answered of reads, while the letter waits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from capture.label_event import UNREADABLE
from console.keying.keyed import Key
from console.keying.votes import DISPUTED, majority
from console.tables import CropRow, LetterRow, VoteRow

Status = Literal["waiting", "keyed", "too_late"]


@dataclass(frozen=True, slots=True)
class CropAnswer:
    """One crop of a read: what it shows, and who says so."""

    crop_index: int
    digit: str | None  # a label; None: nobody has said yet
    by: Literal["person", "machine"]


@dataclass(frozen=True, slots=True)
class ReadState:
    """The answer to a read."""

    read_id: str
    site: str
    status: Status
    deadline_us: int | None
    digits: tuple[CropAnswer, ...]


def states_of(database: Session, read_ids: Collection[str], now_us: int) -> dict[str, ReadState]:
    """The state of each read that is a letter.

    A label counts if it was given before the deadline; what three people disagree about is
    unreadable.
    """
    letters = database.scalars(select(LetterRow).where(LetterRow.read_id.in_(read_ids))).all()
    crops = defaultdict(list)
    columns = (CropRow.read_id, CropRow.crop_index, CropRow.digit, CropRow.how, CropRow.label)
    for row in database.execute(select(*columns).where(CropRow.read_id.in_(read_ids))):
        crops[row.read_id].append(row)
    votes: dict[Key, list[VoteRow]] = defaultdict(list)
    given = select(VoteRow).where(VoteRow.read_id.in_(read_ids), VoteRow.is_undone.is_(False))
    for vote in database.scalars(given):
        votes[vote.read_id, vote.crop_index].append(vote)
    states = {}
    for letter in letters:
        digits = []
        for row in sorted(crops[letter.read_id], key=lambda one: one.crop_index):
            key = (letter.read_id, row.crop_index)
            in_time = [one.label for one in votes[key] if _is_in_time(one, letter)]
            said = UNREADABLE if row.label == DISPUTED else majority(in_time)
            answer = row.digit if row.how is None else said
            digits.append(
                CropAnswer(row.crop_index, answer, "machine" if row.how is None else "person")
            )
        is_late = letter.deadline_us is not None and now_us > letter.deadline_us
        is_keyed = all(one.digit is not None for one in digits)
        status: Status = "keyed" if is_keyed else "too_late" if is_late else "waiting"
        states[letter.read_id] = ReadState(
            letter.read_id, letter.site, status, letter.deadline_us, tuple(digits)
        )
    return states


def _is_in_time(vote: VoteRow, letter: LetterRow) -> bool:
    return letter.deadline_us is None or vote.when_us <= letter.deadline_us
