"""What people said of a crop -> its label, or who else is to be asked.

The rule is that of `capture.label_decision`: a label is settled where more than half of the persons
gave it. Two who disagree need a third; three who all differ leave a dispute.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session, defer

from capture.label_event import LabelEvent
from console.keying.quality import needs_second
from console.tables import CropRow, LetterRow, VoteRow

DISPUTED: Final = "disputed"
MAX_PERSONS: Final = 3
Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The state of a crop."""

    label: str | None  # None: another person is to be asked
    num_wanted: int


def majority(labels: Sequence[str]) -> str | None:
    """The label that more than half gave."""
    if not labels:
        return None
    label, num = Counter(labels).most_common(1)[0]
    return label if num * 2 > len(labels) else None


def decide(labels: Sequence[str], num_wanted: int) -> Outcome:
    """Decide a crop.

    Args:
        labels: one of each person.
        num_wanted: persons that were to be asked until now.
    """
    label = majority(labels)
    if label is None and len(labels) >= MAX_PERSONS:
        return Outcome(DISPUTED, num_wanted)
    if label is None:
        return Outcome(None, max(num_wanted, len(labels) + 1))
    return Outcome(label if len(labels) >= num_wanted else None, num_wanted)


def add_votes(
    database: Session, events: Sequence[LabelEvent], kinds: dict[str, str], now_us: int
) -> None:
    """Note events of crops that are in the database, in any order, once each.

    Args:
        database: a transaction.
        events: also those that were noted before, or are older than the person's latest.
        kinds: event id -> what the person said, where that is more than the label.
        now_us: microseconds since 1970.
    """
    keys = {(one.read_id, one.crop_index) for one in events}
    crops = _crops(database, keys)
    votes = {(one.read_id, one.crop_index, one.who): one for one in _votes(database, keys)}
    changed: set[Key] = set()
    for event in sorted(events, key=lambda one: one.when_us):
        key = (event.read_id, event.crop_index)
        vote = votes.get((*key, event.who))
        if key not in crops or (vote is not None and vote.when_us >= event.when_us):
            continue
        if vote is None:
            vote = VoteRow(read_id=event.read_id, crop_index=event.crop_index, who=event.who)
            votes[*key, event.who] = vote
            database.add(vote)
        vote.label, vote.when_us, vote.event_id = event.label, event.when_us, event.event_id
        vote.kind = kinds.get(event.event_id, event.label)
        vote.is_undone, vote.is_checking, vote.is_agreed = False, False, None
        changed.add(key)
    for key in changed:
        of_crop = [vote for vote in votes.values() if (vote.read_id, vote.crop_index) == key]
        _settle(database, crops[key], [one for one in of_crop if not one.is_undone])
    _close({read_id for read_id, _ in changed}, database, now_us)


def undo_votes(database: Session, read_id: str, who: str) -> None:
    """Take back what a person said of a letter, until it is keyed again."""
    votes = database.scalars(select(VoteRow).where(VoteRow.read_id == read_id)).all()
    for vote in votes:
        if vote.who == who:
            vote.is_undone, vote.is_checking, vote.is_agreed = True, False, None
    crops = select(CropRow).where(CropRow.read_id == read_id).options(defer(CropRow.picture))
    for crop in database.scalars(crops):
        of_crop = [one for one in votes if one.crop_index == crop.crop_index and not one.is_undone]
        if crop.how is not None:
            _settle(database, crop, of_crop)


def _settle(database: Session, crop: CropRow, votes: Sequence[VoteRow]) -> None:
    wanted = crop.num_wanted
    if len(votes) == 1 and needs_second(database, votes[0].who, crop.read_id, crop.crop_index):
        wanted = max(wanted, 2)
    found = decide([one.label for one in votes], wanted)
    crop.label, crop.num_wanted = found.label, found.num_wanted
    for vote in votes:
        vote.is_checking = found.label is None
        is_checked = len(votes) > 1 and found.label not in (None, DISPUTED)
        vote.is_agreed = vote.label == found.label if is_checked else None


def _close(read_ids: Collection[str], database: Session, now_us: int) -> None:
    """Close the letters of which nobody is asked any longer; end the lease of who has done all."""
    if not read_ids:
        return
    database.flush()
    open_ids = set(
        database.scalars(
            select(CropRow.read_id)
            .where(CropRow.read_id.in_(read_ids), CropRow.how.is_not(None))
            .where(CropRow.label.is_(None))
        )
    )
    for letter in database.scalars(select(LetterRow).where(LetterRow.read_id.in_(read_ids))):
        if letter.read_id not in open_ids:
            letter.closed_us, letter.lease_until_us = now_us, 0
        elif letter.leased_by is not None and not asked_of(
            database, letter.read_id, letter.leased_by
        ):
            letter.closed_us, letter.lease_until_us = None, 0


def asked_of(database: Session, read_id: str, who: str) -> set[int]:
    """The crops of a letter that a person is still asked about."""
    done = select(VoteRow.crop_index).where(
        VoteRow.read_id == read_id, VoteRow.who == who, VoteRow.is_undone.is_(False)
    )
    return set(
        database.scalars(
            select(CropRow.crop_index).where(
                CropRow.read_id == read_id, CropRow.how.is_not(None),
                CropRow.label.is_(None), CropRow.crop_index.not_in(done),
            )
        )
    )  # fmt: skip


def _crops(database: Session, keys: Collection[Key]) -> dict[Key, CropRow]:
    query = select(CropRow).where(tuple_(CropRow.read_id, CropRow.crop_index).in_(keys))
    found = database.scalars(query.where(CropRow.how.is_not(None)).options(defer(CropRow.picture)))
    return {(one.read_id, one.crop_index): one for one in found}


def _votes(database: Session, keys: Collection[Key]) -> Sequence[VoteRow]:
    query = select(VoteRow).where(tuple_(VoteRow.read_id, VoteRow.crop_index).in_(keys))
    return database.scalars(query).all()
