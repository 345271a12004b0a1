"""/v1/labels: what people keyed -> label events on disk, all of a request or none.

The service has no database and cannot read the archive, so it checks the form of a read id and its
time. Whether the read was captured is found when labels are used (`python -m monitoring labels`).
Parsing and writing run on a thread of their own: the event loop and the batcher do not wait.
"""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from capture.label_event import MAX_CLOCK_AHEAD, BadField, LabelEvent, event_of
from serving.api.digits import MAX_PACKED_CROPS
from serving.messages import Answer, Request, json_answer
from serving.problems import Problem
from serving.reading.capture_sink import CaptureSink

MAX_LABELS: Final = 1024
_MAX_MARKS: Final = MAX_LABELS * 40  # commas, brackets and quotes; a label has about 30


@dataclass(frozen=True, slots=True)
class LabelHandler:
    """The handler of /v1/labels; for keys with the scope label."""

    capture: CaptureSink

    async def labels(self, request: Request) -> Answer:
        """Store one label, or up to 1,024."""
        if not self.capture.is_on:
            raise Problem(
                501, "labels are stored beside captures, and this service captures nothing; "
                "set DIGITS_CAPTURE_DIR",
            )  # fmt: skip
        return await asyncio.to_thread(self._store, request)

    def _store(self, request: Request) -> Answer:
        events = _events(_rows(request.body), datetime.now(UTC), request.site)
        self.capture.persist_labels(list({one.event_id: one for one in events}.values()))
        return json_answer({"results": [_fields(event) for event in events]})


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
    if mistakes:
        one = mistakes[0]
        raise Problem(
            400,
            f"{len(mistakes)} of {len(rows)} labels cannot be stored, so none is; first row "
            f"{one['row']}: {one['field']} {one['value']!r}: {one['detail']}",
            rows=mistakes,
        )
    return events


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


def _fields(event: LabelEvent) -> dict[str, Any]:
    """One label's part of the answer."""
    return {
        "event_id": event.event_id,
        "read_id": event.read_id,
        "crop_index": event.crop_index,
        "label": event.label,
    }
