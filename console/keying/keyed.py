"""Letters with their crops and votes, read once for a transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from capture.label_event import LabelEvent
from console.tables import CropRow, LetterRow, VoteRow

Key = tuple[str, int]  # of a crop: read_id, crop_index


@dataclass(frozen=True, slots=True)
class Keyed:
    """What the database has of some letters; rows that a transaction adds are added here, too."""

    letters: dict[str, LetterRow]
    crops: dict[str, dict[int, CropRow]]  # read_id -> crop_index, ascending
    votes: dict[Key, dict[str, VoteRow]]  # -> who

    def asked_crop(self, key: Key) -> CropRow | None:
        """The crop, if somebody is or was asked about it."""
        crop = self.crops.get(key[0], {}).get(key[1])
        return None if crop is None or crop.how is None else crop

    def vote_of(self, key: Key, who: str) -> VoteRow | None:
        """A person's latest label of a crop."""
        return self.votes.get(key, {}).get(who)

    def is_new(self, event: LabelEvent) -> bool:
        """Whether an event says something of a crop that is asked, and later than the latest."""
        key = (event.read_id, event.crop_index)
        vote = self.vote_of(key, event.who)
        return self.asked_crop(key) is not None and (vote is None or vote.when_us < event.when_us)

    def asked(self, read_id: str) -> list[int]:
        """The crops of a letter that have no settled label yet."""
        crops = self.crops.get(read_id, {}).items()
        return [at for at, one in crops if one.how is not None and one.label is None]

    def asked_of(self, read_id: str, who: str) -> set[int]:
        """Those that a person is still asked about."""
        votes = {at: self.vote_of((read_id, at), who) for at in self.asked(read_id)}
        return {at for at, vote in votes.items() if vote is None or vote.is_undone}


def load_keyed(
    database: Session, read_ids: Collection[str], *, with_pictures: bool = False
) -> Keyed:
    """Read letters, and lock their rows where the database can."""
    letters = database.scalars(
        select(LetterRow)
        .where(LetterRow.read_id.in_(read_ids))
        .order_by(LetterRow.read_id)  # one order for all, or two could wait for each other
        .with_for_update()
    ).all()
    query = select(CropRow).where(CropRow.read_id.in_(read_ids)).order_by(CropRow.crop_index)
    crops: dict[str, dict[int, CropRow]] = defaultdict(dict)
    for crop in database.scalars(query if with_pictures else query.options(defer(CropRow.picture))):
        crops[crop.read_id][crop.crop_index] = crop
    votes: dict[Key, dict[str, VoteRow]] = defaultdict(dict)
    for vote in database.scalars(select(VoteRow).where(VoteRow.read_id.in_(read_ids))):
        votes[vote.read_id, vote.crop_index][vote.who] = vote
    return Keyed({one.read_id: one for one in letters}, crops, votes)
