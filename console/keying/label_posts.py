"""Labels that a person sends -> label events on disk, then votes in the database.

A label is acknowledged when its event is in the spool. The letter's row is locked from the check of
the lease until then, so that the lease cannot pass to somebody else in between. A console that is
killed after the write and before the commit leaves an event without a vote: it reads its vote from
the spool when it starts again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sqlalchemy.orm import Session

from capture.label_event import LABELS, MAX_CLOCK_AHEAD, NOT_A_DIGIT, LabelEvent
from console.keying.choosing import KEYED
from console.keying.keyed import Key, Keyed, load_keyed
from console.keying.leases import is_free
from console.keying.votes import add_votes
from console.sessions import SignedIn

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


@dataclass(frozen=True, slots=True)
class Post:
    """Labels that one person has sent, in the order of keying."""

    person: SignedIn
    labels: Sequence[SentLabel]
    now_us: int  # microseconds since 1970


def store_labels(database: Session, write: Write, posts: Sequence[Post]) -> list[list[str]]:
    """Store those labels that their persons may give.

    Args:
        database: a transaction; it is committed after this returns.
        write: puts events on disk.
        posts: of any persons.

    Returns:
        For each label of each post why it is refused; empty: it is stored.

    Raises:
        SpoolError: none is stored.
    """
    read_ids = {label.read_id for post in posts for label in post.labels}
    keyed = load_keyed(database, read_ids)
    said: dict[tuple[Key, str], tuple[str, int]] = {  # who's latest event: its id, and when_us
        (key, who): (vote.event_id, vote.when_us)
        for key, votes in keyed.votes.items()
        for who, vote in votes.items()
    }
    events: dict[str, LabelEvent] = {}
    kinds: dict[str, str] = {}
    all_reasons = []
    for post in posts:
        reasons = []
        for one in post.labels:
            event = _event(keyed, one, post.person)
            place = ((event.read_id, event.crop_index), event.who)
            event_id, when_us = said.get(place, ("", 0))
            reason = ""
            if event.event_id not in events and event.event_id != event_id:
                reason = _why_refused(keyed, event, when_us, post.now_us)
                if not reason:
                    events[event.event_id], kinds[event.event_id] = event, one.kind
                    said[place] = max((event.event_id, event.when_us), (event_id, when_us),
                                      key=lambda latest: latest[1])  # fmt: skip
            reasons.append(reason)
        all_reasons.append(reasons)
    if events:
        write(list(events.values()))
        add_votes(database, keyed, list(events.values()), kinds, posts[0].now_us)
    return all_reasons


def _event(keyed: Keyed, one: SentLabel, person: SignedIn) -> LabelEvent:
    crop = keyed.asked_crop((one.read_id, one.crop_index))
    how = KEYED if crop is None or crop.how is None else crop.how
    return LabelEvent(
        one.read_id, one.crop_index, one.label, person.who, one.when_us, how, person.source
    )


def _why_refused(keyed: Keyed, event: LabelEvent, latest_us: int, now_us: int) -> str:
    letter = keyed.letters.get(event.read_id)
    if letter is None:
        return "there is no such letter; it may be erased"
    if keyed.asked_crop((event.read_id, event.crop_index)) is None:
        return "nobody is asked about this crop"
    is_correction = latest_us > 0 and is_free(letter.lease_until_us, now_us)
    if letter.leased_by is None:
        return "the letter was not given to you; fetch it from /keying/letters"
    if letter.leased_by != event.who and not is_correction:
        return "the lease has passed to somebody else"
    if event.when_us == latest_us:
        return "another label of the same moment was sent; send a later when_us"
    return ""
