"""/v1/labels: what people keyed -> label events on disk, all of a request or none.

The service cannot read the archive, so it asks the shipper whether each crop was captured. If the
shipper cannot tell within a second, the label is stored and its answer says so: such a label counts
only if its crop is in the archive. Parsing, asking and writing run on a thread of their own: the
event loop and the batcher do not wait.
"""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from capture.label_event import MAX_CLOCK_AHEAD, BadField, LabelEvent, event_of
from capture.read_check import NO_CROP, NO_READ
from serving.api.digits import MAX_PACKED_CROPS
from serving.messages import Answer, Request, json_answer
from serving.problems import Problem
from serving.reading.capture_sink import CaptureSink

MAX_LABELS: Final = 1024
_MAX_MARKS: Final = MAX_LABELS * 40  # commas, brackets and quotes; a label has about 30
# What is said of a crop -> the field that is wrong, and the remedy.
_UNKNOWN: Final = {
    NO_READ: (
        "read_id",
        "no captured read has it; check it, or wait 30 s until it is shipped; it may be erased",
    ),
    NO_CROP: ("crop_index", "the read is captured, but no such crop of it; crops count from 0"),
}


@dataclass(frozen=True, slots=True)
class LabelHandler:
    """The handler of /v1/labels; for keys with the scope label."""

    capture: CaptureSink

    async def labels(self, request: Request) -> Answer:
        """Store one label, or up to 1,024."""
        if not self.capture.is_on:
            raise Problem(
                404, "labels are stored beside captures, and this service captures nothing; "
                "set DIGITS_CAPTURE_DIR",
            )  # fmt: skip
        return await asyncio.to_thread(self._store, request)

    def _store(self, request: Request) -> Answer:
        events = _events(_rows(request.body), datetime.now(UTC), request.site)
        words = self.capture.check_reads([(one.read_id, one.crop_index) for one in events])
        _refuse_unknown(events, words)
        self.capture.persist_labels(list({one.event_id: one for one in events}.values()))
        results = [_fields(event, word) for event, word in zip(events, words, strict=True)]
        return json_answer({"results": results})


def _rows(body: bytes) -> list[Any]:
    """The labels of a body: an object, or an object with a list under `labels`."""
    num_marks = sum(body.count(mark) for mark in (b",", b"[", b"{", b'"'))
    if num_marks > _MAX_MARKS:
        raise Problem(
            400,
            f"the JSON has {num_marks} commas, brackets and quotes; {MAX_LABELS} labels need at "
            f"most {_MAX_MARKS}; send fewer",
        )
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"the body is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise Problem(400, 'the body is no object; send a label, or {"labels": [...]}')
    rows = content.get("labels", [content])
    if not isinstance(rows, list) or not 1 <= len(rows) <= MAX_LABELS:
        found = len(rows) if isinstance(rows, list) else "no list of"
        raise Problem(400, f"there are {found} labels; send a list of 1 to {MAX_LABELS}")
    return rows


def _events(rows: Sequence[Any], now: datetime, site: str) -> list[LabelEvent]:
    """The events of all rows.

    Raises:
        Problem: 400, with each row that has a mistake.
    """
    events: list[LabelEvent] = []
    mistakes: list[dict[str, Any]] = []
    first: dict[tuple[str, int, str, int], tuple[int, str]] = {}
    for number, row in enumerate(rows):
        try:
            event = _event(row, now, site)
            key = (event.read_id, event.crop_index, event.who, event.when_us)
            place, label = first.setdefault(key, (number, event.label))
            if label != event.label:
                raise BadField(
                    "label", event.label, f"row {place} has {label} of the same person and moment; "
                    "keep one of them",
                )  # fmt: skip
        except BadField as error:
            mistakes.append(
                {"row": number, "field": error.field, "value": error.value, "detail": error.remedy}
            )
            continue
        events.append(event)
    _refuse(mistakes, len(rows))
    return events


def _refuse(mistakes: list[dict[str, Any]], num_rows: int) -> None:
    """Refuse the request if a row has a mistake. Raises Problem: 400."""
    if not mistakes:
        return
    one = mistakes[0]
    raise Problem(
        400,
        f"{len(mistakes)} of {num_rows} labels cannot be stored, so none is; first row "
        f"{one['row']}: {one['field']} {one['value']!r}: {one['detail']}",
        rows=mistakes,
    )


def _refuse_unknown(events: Sequence[LabelEvent], words: Sequence[str]) -> None:
    """Refuse the request if a row names no captured crop. Raises Problem: 400."""
    mistakes = []
    for number, (event, word) in enumerate(zip(events, words, strict=True)):
        if word in _UNKNOWN:
            field, detail = _UNKNOWN[word]
            value = str(getattr(event, field))
            mistakes.append({"row": number, "field": field, "value": value, "detail": detail})
    _refuse(mistakes, len(events))


def _event(row: Any, now: datetime, site: str) -> LabelEvent:
    if not isinstance(row, dict):
        raise BadField("label", row, "is no object with read_id, crop_index, label and so on")
    event = event_of(row, now=now, source=site)
    _check_read_id(event.read_id, now)
    if event.crop_index >= MAX_PACKED_CROPS:
        raise BadField(
            "crop_index", event.crop_index, f"a read has at most {MAX_PACKED_CROPS} crops, from 0"
        )
    return event


def _check_read_id(read_id: str, now: datetime) -> None:
    """Refuse what no answer can have had as its read id: it is no UUIDv7 or is of the future."""
    try:
        parsed = uuid.UUID(read_id)
    except ValueError:
        parsed = None
    if parsed is None or parsed.version != 7 or str(parsed) != read_id:
        raise BadField(
            "read_id", read_id, "no read has it; give the read_id of the answer, not the request_id"
        )
    latest_ms = (now + MAX_CLOCK_AHEAD).timestamp() * 1e3
    if parsed.int >> 80 > latest_ms:
        raise BadField("read_id", read_id, "no read has it: its time is in the future")


def _fields(event: LabelEvent, word: str) -> dict[str, Any]:
    """One label's part of the answer."""
    return {
        "event_id": event.event_id,
        "read_id": event.read_id,
        "crop_index": event.crop_index,
        "label": event.label,
        "read": word,
    }
