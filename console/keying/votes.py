"""What people said of a crop -> its label, or who else is to be asked.

The rule is that of `capture.label_decision`: a label is settled where more than half of the persons
gave it. Two who disagree need a third; three who all differ leave a dispute.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.orm import Session

from capture.label_event import LabelEvent
from console.keying.keyed import Key, Keyed
from console.keying.quality import SecondOpinions
from console.tables import VoteRow

DISPUTED: Final = "disputed"
MAX_PERSONS: Final = 3


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
    database: Session,
    keyed: Keyed,
    events: Sequence[LabelEvent],
    kinds: Mapping[str, str],
    now_us: int,
) -> None:
    """Note events of crops that are in the database, in any order, once each.

    Args:
        database: a transaction.
        keyed: the letters of the events, of this transaction.
        events: also those that were noted before, or are older than the person's latest.
        kinds: event id -> what the person said, where that is more than the label.
        now_us: microseconds since 1970.
    """
    changed: set[Key] = set()
    for event in sorted(events, key=lambda one: one.when_us):
        key = (event.read_id, event.crop_index)
        if not keyed.is_new(event):
            continue
        vote = keyed.vote_of(key, event.who)
        if vote is None:
            vote = VoteRow(read_id=event.read_id, crop_index=event.crop_index, who=event.who)
            keyed.votes[key][event.who] = vote
            database.add(vote)
        vote.label, vote.when_us, vote.event_id = event.label, event.when_us, event.event_id
        vote.kind = kinds.get(event.event_id, event.label)
        vote.is_undone, vote.is_checking, vote.is_agreed = False, False, None
        changed.add(key)
    _settle(database, keyed, changed)
    _close(keyed, {read_id for read_id, _ in changed}, now_us)


def undo_votes(database: Session, keyed: Keyed, read_id: str, who: str) -> None:
    """Take back what a person said of a letter, until it is keyed again."""
    keys = {(read_id, index) for index in keyed.crops.get(read_id, {})}
    for key in keys:
        if (vote := keyed.vote_of(key, who)) is not None:
            vote.is_undone, vote.is_checking, vote.is_agreed = True, False, None
    _settle(database, keyed, {key for key in keys if keyed.asked_crop(key) is not None})


def _settle(database: Session, keyed: Keyed, keys: Collection[Key]) -> None:
    votes = {
        key: [vote for vote in keyed.votes[key].values() if not vote.is_undone] for key in keys
    }
    alone = {some[0].who for some in votes.values() if len(some) == 1}
    opinions = SecondOpinions(database, alone)
    for key, some in votes.items():
        crop = keyed.asked_crop(key)
        assert crop is not None
        wanted = crop.num_wanted
        if len(some) == 1 and wanted < 2 and opinions.needs_second(some[0].who, *key):
            wanted = 2
        found = decide([one.label for one in some], wanted)
        crop.label, crop.num_wanted = found.label, found.num_wanted
        for vote in some:
            vote.is_checking = found.label is None
            is_checked = len(some) > 1 and found.label not in (None, DISPUTED)
            vote.is_agreed = vote.label == found.label if is_checked else None


def _close(keyed: Keyed, read_ids: Collection[str], now_us: int) -> None:
    """Close the letters of which nobody is asked any longer; end the lease of who has done all."""
    for read_id in read_ids:
        letter = keyed.letters.get(read_id)
        if letter is None:
            continue
        if not keyed.asked(read_id):
            letter.closed_us, letter.lease_until_us = now_us, 0
        elif letter.leased_by is not None and not keyed.asked_of(read_id, letter.leased_by):
            letter.closed_us, letter.lease_until_us = None, 0
