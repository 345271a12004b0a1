"""The crops that an analyst wants labelled (`console.drift.label_requests`) -> letters to key.

They are asked like rejects. One that is labelled, voted on or gone from the archive is left alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import and_, exists, select, update
from sqlalchemy.orm import Session

from capture.archive import partition
from capture.look_up import begun_us
from capture.store import Store
from console.keying.archived import crops_of
from console.keying.choosing import KEYED, FoundLetter, SeenCrop, choose_letter
from console.keying.keyed import Key
from console.keying.letter_store import add_letters, known_ids, writing
from console.tables import CropRow, LabelRequest, LetterRow, VoteRow
from console.visit import Console

_AT_ONCE: Final = 200  # requests; more wait for the next look


def take_requested(console: Console, labelled: Collection[Key]) -> None:
    """Put what was requested and is not asked yet into the queue.

    Args:
        console: its archive and database.
        labelled: crops that people need not be asked about.
    """
    with console.transaction() as database:
        waiting = [one for one in _waiting(database) if one[:2] not in labelled][:_AT_ONCE]
        known = known_ids(database, {read_id for read_id, _, _ in waiting})
    new: dict[str, set[int]] = defaultdict(set)
    sites: dict[str, str] = {}
    for read_id, index, site in waiting:
        if read_id not in known:
            new[read_id].add(index)
            sites[read_id] = site
    found = _find(console.archive, new, sites)
    if not waiting:
        return
    with writing(console) as database:
        add_letters(database, found)
        for read_id, index, _ in waiting:
            if read_id in known:
                _ask(database, read_id, index)


def _waiting(database: Session) -> list[tuple[str, int, str]]:
    """Requests whose crop nobody is asked about and nobody has keyed, oldest first."""
    same_crop = and_(
        CropRow.read_id == LabelRequest.read_id, CropRow.crop_index == LabelRequest.crop_index
    )
    asked = exists().where(same_crop, CropRow.how.is_not(None))
    voted = exists().where(
        VoteRow.read_id == LabelRequest.read_id, VoteRow.crop_index == LabelRequest.crop_index
    )
    query = select(LabelRequest.read_id, LabelRequest.crop_index, LabelRequest.site)
    rows = database.execute(query.where(~asked, ~voted).order_by(LabelRequest.asked_us))
    return [(read_id, index, site) for read_id, index, site in rows]


def _find(
    archive: Store, wanted: Mapping[str, Collection[int]], sites: Mapping[str, str]
) -> list[FoundLetter]:
    """The letters of reads that the queue does not have."""
    folders: dict[str, list[str]] = defaultdict(list)
    for read_id in wanted:
        day = datetime.fromtimestamp(begun_us(read_id) / 1e6, UTC).date()
        folders[partition(day.isoformat(), sites[read_id])].append(read_id)
    seen: dict[str, list[SeenCrop]] = defaultdict(list)
    for folder, read_ids in folders.items():
        for key in archive.find(f"{folder}/"):
            for crop in crops_of(archive, key, read_ids):
                seen[crop.read_id].append(crop)
    letters = (choose_letter(crops, requested=wanted[read_id]) for read_id, crops in seen.items())
    return [one for one in letters if one is not None]


def _ask(database: Session, read_id: str, index: int) -> None:
    """Ask about a crop of a letter that is there; a closed letter is opened again."""
    database.execute(
        update(CropRow)
        .where(CropRow.read_id == read_id, CropRow.crop_index == index, CropRow.how.is_(None))
        .values(how=KEYED)
    )
    database.execute(update(LetterRow).where(LetterRow.read_id == read_id).values(closed_us=None))
