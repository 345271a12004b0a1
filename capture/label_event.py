"""A label event: who said what a crop shows, when, and how. Only ever added, never changed.

The same event sent twice has the same id, so a repetition changes nothing. A correction is another
event. Standard library only, because the service imports it. Knows nothing about files.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

NOT_A_DIGIT: Final = "not_a_digit"
UNREADABLE: Final = "unreadable"
DIGITS: Final = tuple(map(str, range(10)))
LABELS: Final = (*DIGITS, NOT_A_DIGIT, UNREADABLE)
AUDIT: Final = "audit"
HOW: Final = ("keyed", AUDIT, "import")
FIRST_BYTE: Final = b"{"  # of an encoded event; a captured record begins with its version
MAX_CLOCK_AHEAD: Final = timedelta(minutes=5)
_MAX_TEXT_BYTES: Final = 255
_MAX_INDEX: Final = 2**31 - 1
_MAX_SHOWN: Final = 40  # characters of a wrong value
_WHOLE: Final = re.compile(r"([0-9]{1,18})(?:\.0*|,00?)?")  # spreadsheets write 7 as 7.0, or as 7,0
_MISSING: Final = {
    "read_id": "give the read_id of the answer",
    "who": "write a column who, or --who NAME",
}
_OLDEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LabelEvent:
    """One person's label of one crop."""

    read_id: str
    crop_index: int
    label: str  # one of LABELS
    who: str
    when_us: int  # microseconds since 1970
    how: str  # one of HOW
    source: str = ""  # site of the API key that sent it; "" for an import

    @property
    def event_id(self) -> str:
        """Hash of what was said; who passed it on is no part of it."""
        said = [self.read_id, self.crop_index, self.label, self.who, self.when_us, self.how]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:32]


class BadField(ValueError):
    """A field of a label that cannot be used: its name, value and remedy."""

    def __init__(self, field: str, value: object, remedy: str) -> None:
        self.field = field
        self.value = str(value)[:_MAX_SHOWN]
        self.remedy = remedy
        super().__init__(f"{field} {self.value!r}: {remedy}")


def event_of(fields: Mapping[str, object], *, now: datetime, source: str = "") -> LabelEvent:
    """Check the fields of one label.

    Args:
        fields: read_id, crop_index, label, who, when and how; numbers or their text.
        now: a time after it is a wrong clock.
        source: the site of the API key.

    Raises:
        BadField: the first one that is missing or wrong.
    """
    return LabelEvent(
        read_id=text_of(fields, "read_id"),
        crop_index=_index(fields.get("crop_index")),
        label=_label(fields.get("label")),
        who=text_of(fields, "who"),
        when_us=_when_us(fields.get("when"), now),
        how=_how(fields.get("how")),
        source=source,
    )


def text_of(fields: Mapping[str, object], name: str) -> str:
    """A field that is a name or an id. Raises BadField."""
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise BadField(name, "" if value is None else value, _MISSING[name])
    if len(value.encode(errors="replace")) > _MAX_TEXT_BYTES or not value.isprintable():
        raise BadField(
            name, value, f"give at most {_MAX_TEXT_BYTES} bytes without control characters"
        )
    return value


def _index(value: object) -> int:
    index = _whole(value)
    if index is None or index > _MAX_INDEX:
        raise BadField(
            "crop_index",
            "" if value is None else value,
            "is not the place of a crop; write 0 for the first one of a request",
        )
    return index


def _label(value: object) -> str:
    digit = _whole(value)
    label = str(value).lower() if digit is None else str(digit)
    if label not in LABELS:
        raise BadField(
            "label",
            "" if value is None else value,
            f"write a digit from 0 to 9, {NOT_A_DIGIT} or {UNREADABLE}",
        )
    return label


def _whole(value: object) -> int | None:
    if isinstance(value, float) and value.is_integer():  # JSON made of a table with gaps
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    match = _WHOLE.fullmatch(str(value))
    return int(match[1]) if match else None


def _when_us(value: object, now: datetime) -> int:
    remedy = "write the moment of keying with its time zone, as 2026-11-27T08:15:30Z"
    try:
        when = datetime.fromisoformat(value) if isinstance(value, str) else None
        if when is None or when.tzinfo is None:
            raise BadField("when", "" if value is None else value, remedy)
        when = when.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        if isinstance(error, BadField):
            raise
        raise BadField("when", value, remedy) from None
    if not _OLDEST <= when <= now + MAX_CLOCK_AHEAD:
        raise BadField(
            "when", value, f"is before 2000 or after {now:%Y-%m-%dT%H:%M:%SZ}; set the clock"
        )
    return (when - _EPOCH) // timedelta(microseconds=1)


def _how(value: object) -> str:
    if not isinstance(value, str) or value not in HOW:
        raise BadField("how", "" if value is None else value, f"write one of {', '.join(HOW)}")
    return value


def encode(event: LabelEvent) -> bytes:
    """Lay an event out as bytes."""
    return json.dumps(asdict(event)).encode()


def decode(data: bytes) -> LabelEvent:
    """Read what `encode` wrote; fields that a later version added are left out.

    Raises:
        ValueError: it is no label event.
    """
    fields = json.loads(data)
    try:
        return LabelEvent(**{name: fields[name] for name in LabelEvent.__dataclass_fields__})
    except (KeyError, TypeError) as error:
        raise ValueError(f"{len(data)} bytes are no label event: {error!r}") from error
