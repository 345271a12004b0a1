"""Letters in the database: added once by whichever console finds them first, dropped when erased.

Every write is one transaction. SQLite has one writer: the consoles' threads wait in turn, in this
process by a lock, because SQLite's own waiting sleeps up to 100 ms. None waits longer than
`BUSY_S` for each of the two.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Table, delete, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from capture.erasure import fingerprint
from console.database import BUSY_S
from console.keying.choosing import FoundLetter
from console.tables import CropRow, LetterRow, VoteRow
from console.visit import Console

_DAY_US: Final = 86_400_000_000
_WRITING: Final = threading.Lock()


@contextmanager
def writing(console: Console) -> Iterator[Session]:
    """One transaction that may write; it is committed if the block ends without an error.

    Raises:
        OperationalError: another program, or other threads, held the database for too long.
    """
    if console.database.dialect.name != "sqlite":
        with console.transaction() as database, database.begin():
            yield database
        return
    if not _WRITING.acquire(timeout=BUSY_S):
        raise OperationalError(
            "BEGIN IMMEDIATE", {}, sqlite3.OperationalError("database is locked")
        )
    try:
        with console.transaction() as database, database.begin():
            # A reader that becomes a writer would fail where another console has written meanwhile.
            database.connection().exec_driver_sql("BEGIN IMMEDIATE")
            yield database
    finally:
        _WRITING.release()


def insert_new(database: Session, table: type[Any], rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows; those whose key is there already are left as they are."""
    if not rows:
        return
    dialect: Any = postgresql if database.get_bind().dialect.name == "postgresql" else sqlite
    target: Table = table.__table__
    database.execute(dialect.insert(target).on_conflict_do_nothing(), rows)


def add_letters(database: Session, found: Sequence[FoundLetter]) -> None:
    """Add letters, and crops that were not known of letters that are there."""
    insert_new(
        database,
        LetterRow,
        [
            {
                "read_id": one.read_id,
                "site": one.site,
                "time_us": one.time_us,
                "deadline_us": one.deadline_us,
                "closed_us": None,
                "leased_by": None,
                "leased_in": None,
                "lease_until_us": 0,
            }
            for one in found
        ],
    )
    insert_new(
        database,
        CropRow,
        [
            {
                "read_id": one.read_id,
                "crop_index": crop.crop_index,
                "digit": crop.digit,
                "how": crop.how,
                "label": None,
                "num_wanted": 1,
                "width": crop.width,
                "height": crop.height,
                "picture": crop.picture,
            }
            for one in found
            for crop in one.crops
        ],
    )


def known_ids(database: Session, read_ids: Collection[str]) -> set[str]:
    """Those of the reads that are letters."""
    query = select(LetterRow.read_id).where(LetterRow.read_id.in_(read_ids))
    return set(database.scalars(query))


def drop_letters(database: Session, read_ids: Collection[str]) -> None:
    """Remove letters with all that people said of them."""
    for table in (VoteRow, CropRow, LetterRow):
        database.execute(delete(table).where(table.read_id.in_(read_ids)))


def open_ids(database: Session) -> set[str]:
    """The letters that somebody is still asked about."""
    return set(database.scalars(select(LetterRow.read_id).where(LetterRow.closed_us.is_(None))))


def count_open(database: Session) -> int:
    """Their number."""
    query = select(func.count()).select_from(LetterRow).where(LetterRow.closed_us.is_(None))
    return database.scalar(query) or 0


def drop_erased(database: Session, erased: Collection[str]) -> None:
    """Remove the letters of erased reads, given by their fingerprints."""
    known = {*database.scalars(select(LetterRow.read_id)), *_voted_ids(database)}
    drop_letters(database, [one for one in known if fingerprint(one) in erased])


def _voted_ids(database: Session) -> Sequence[str]:
    return database.scalars(select(VoteRow.read_id).distinct()).all()


def prune(database: Session, now_us: int, *, num_days: int, keep_days: int) -> None:
    """Remove letters that were closed a day ago or whose mail is old, and old votes."""
    old = or_(
        LetterRow.closed_us < now_us - _DAY_US, LetterRow.time_us < now_us - num_days * _DAY_US
    )
    read_ids = select(LetterRow.read_id).where(old)
    database.execute(delete(CropRow).where(CropRow.read_id.in_(read_ids)))
    database.execute(delete(LetterRow).where(old))
    database.execute(delete(VoteRow).where(VoteRow.when_us < now_us - keep_days * _DAY_US))
