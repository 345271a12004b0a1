"""Labels that a person sends -> label events on disk, then votes in the database.

A label is acknowledged when its event is in the spool. The letter's row is locked from the check of
the lease until then, so that the lease cannot pass to somebody else in between. A console that is
killed after the write and before the commit leaves an event without a vote: it reads its vote from
the spool when it starts again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from capture.label_event import LABELS, MAX_CLOCK_AHEAD, NOT_A_DIGIT, LabelEvent
from console.keying.choosing import KEYED
from console.keying.votes import Key, add_votes
from console.sessions import SignedIn
from console.tables import CropRow, LetterRow, VoteRow

TWO_DIGITS: Final = "two_digits"
KINDS: Final = (*LABELS, TWO_DIGITS)
MAX_LABELS: Final = 1024
_AHEAD_US: Final = MAX_CLOCK_AHEAD.total_seconds() * 1e6
_OLDEST_US: Final = 946_684_800_000_000  # 2000, as `capture.label_event` has it
_MAX_ID_CHARS: Final = 255
_MAX_INDEX: Final = 2**31 - 1


class BadLabel(ValueError):
    """What was sent is no label; the text says which value, and what is allowed."""


class Write(Protocol):
    """Puts events on disk, or raises SpoolError."""

    def __call__(self, events: Sequence[LabelEvent]) -> None:
        """Write all of them."""


@dataclass(frozen=True, slots=True)
class SentLabel:
    """One label as the page sends it."""

    read_id: str
    crop_index: int
    kind: str  # one of KINDS
    when_us: int

    @property
    def label(self) -> str:
        """As it is stored."""
        return NOT_A_DIGIT if self.kind == TWO_DIGITS else self.kind


def parse_labels(sent: Mapping[str, Any], now_us: int) -> list[SentLabel]:
    """The labels of a body. Raises BadLabel."""
    rows = sent.get("labels")
    if not isinstance(rows, list) or not 1 <= len(rows) <= MAX_LABELS:
        found = len(rows) if isinstance(rows, list) else "no list of"
        raise BadLabel(f"there are {found} labels; send a list of 1 to {MAX_LABELS}")
    return [_parse(number, row, now_us) for number, row in enumerate(rows)]


def _parse(number: int, row: Any, now_us: int) -> SentLabel:
    if not isinstance(row, dict):
        raise BadLabel(f"row {number} is no object with read_id, crop_index, label and when_us")
    read_id, kind = row.get("read_id"), row.get("label")
    index, when_us = _whole(row.get("crop_index")), _whole(row.get("when_us"))
    if not isinstance(read_id, str) or not 0 < len(read_id) <= _MAX_ID_CHARS:
        raise BadLabel(f"row {number}: read_id {str(read_id)[:40]!r} is no id of a letter")
    if not 0 <= index <= _MAX_INDEX:
        shown = str(row.get("crop_index"))[:40]
        raise BadLabel(f"row {number}: crop_index {shown!r} is no place of a crop, from 0")
    if kind not in KINDS:
        raise BadLabel(f"row {number}: label {str(kind)[:40]!r}; write one of {', '.join(KINDS)}")
    if not _OLDEST_US <= when_us <= now_us + _AHEAD_US:
        shown = str(row.get("when_us"))[:40]
        raise BadLabel(
            f"row {number}: when_us {shown!r} is before 2000 or in the future; it is {now_us} "
            "here; set the clock of your device"
        )
    return SentLabel(read_id, index, kind, when_us)


def _whole(value: object) -> int:
    """A whole number; -1, which is out of every range here, for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else -1


def store_labels(
    database: Session, write: Write, person: SignedIn, sent: Sequence[SentLabel], now_us: int
) -> list[str]:
    """Store those labels that the person may give.

    Args:
        database: a transaction; it is committed after this returns.
        write: puts events on disk.
        person: who keyed them.
        sent: in the order of keying.
        now_us: microseconds since 1970.

    Returns:
        For each label why it is refused; empty: it is stored.

    Raises:
        SpoolError: none is stored.
    """
    known = _look_up(database, person.who, {one.read_id for one in sent})
    events: dict[str, LabelEvent] = {}
    kinds: dict[str, str] = {}
    reasons = []
    for one in sent:
        event = _event(known, one, person)
        reason = ""
        if event.event_id not in events and event.event_id != known.said_of(event)[0]:
            reason = _why_refused(known, event, now_us)
            if not reason:
                events[event.event_id], kinds[event.event_id] = event, one.kind
                known.note(event)
        reasons.append(reason)
    if events:
        write(list(events.values()))
        add_votes(database, list(events.values()), kinds, now_us)
    return reasons


@dataclass(frozen=True, slots=True)
class _Known:
    """What the database has of the letters of a request."""

    letters: dict[str, LetterRow]
    crops: dict[Key, CropRow]
    said: dict[Key, tuple[str, int]]  # the person's latest event: its id, and when_us

    def said_of(self, event: LabelEvent) -> tuple[str, int]:
        return self.said.get((event.read_id, event.crop_index), ("", 0))

    def note(self, event: LabelEvent) -> None:
        if event.when_us > self.said_of(event)[1]:
            self.said[event.read_id, event.crop_index] = (event.event_id, event.when_us)


def _look_up(database: Session, who: str, read_ids: Collection[str]) -> _Known:
    letters = database.scalars(
        select(LetterRow)
        .where(LetterRow.read_id.in_(read_ids))
        .order_by(LetterRow.read_id)  # one order for all, or two could wait for each other
        .with_for_update()
    ).all()
    crops = database.scalars(
        select(CropRow).options(defer(CropRow.picture)).where(CropRow.read_id.in_(read_ids))
    )
    own = database.scalars(select(VoteRow).where(VoteRow.read_id.in_(read_ids), VoteRow.who == who))
    return _Known(
        {one.read_id: one for one in letters},
        {(one.read_id, one.crop_index): one for one in crops},
        {(one.read_id, one.crop_index): (one.event_id, one.when_us) for one in own},
    )


def _event(known: _Known, one: SentLabel, person: SignedIn) -> LabelEvent:
    crop = known.crops.get((one.read_id, one.crop_index))
    how = KEYED if crop is None or crop.how is None else crop.how
    return LabelEvent(
        one.read_id, one.crop_index, one.label, person.who, one.when_us, how, person.source
    )


def _why_refused(known: _Known, event: LabelEvent, now_us: int) -> str:
    letter = known.letters.get(event.read_id)
    crop = known.crops.get((event.read_id, event.crop_index))
    if letter is None:
        return "there is no such letter; it may be erased"
    if crop is None or crop.how is None:
        return "nobody is asked about this crop"
    _, when_us = known.said_of(event)
    is_correction = when_us > 0 and letter.lease_until_us <= now_us
    if letter.leased_by is None:
        return "the letter was not given to you; fetch it from /keying/letters"
    if letter.leased_by != event.who and not is_correction:
        return "the lease has passed to somebody else"
    if event.when_us == when_us:
        return "another label of the same moment was sent; send a later when_us"
    return ""
