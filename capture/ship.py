"""Finished spool segments -> Parquet in the store, then the segment is deleted.

At least once: a kill between the two leaves the segment, and shipping it again writes the same
names. A record or bytes that cannot be read are kept in `NAME.bad` beside the segment, and stop no
other. `capture.rows` makes the rows. Knows nothing about serving.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from capture import answer_record, answer_rows, challenger_answer, site_sync
from capture.answer_record import AnswerRecord
from capture.archive import PARQUET, encode
from capture.challenger_answer import ChallengerAnswer
from capture.frames import Kind
from capture.label_event import FIRST_BYTE, LabelEvent
from capture.label_event import decode as decode_label
from capture.labels import add_events
from capture.read_answers import answering
from capture.record import CaptureRecord, decode
from capture.rows import rows_by_partition
from capture.segments import (
    BAD,
    live_segments,
    read_bytes,
    recover,
    replace_bytes,
    sealed_segments,
    split_segment,
)
from capture.store import Store, StoreError
from contract import emf

log = logging.getLogger(__name__)

_RETRY_FIRST_S, _RETRY_LAST_S = 1.0, 60.0
_METRICS_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Shipped:
    """What one pass over the spool did."""

    num_segments: int = 0
    num_records: int = 0
    num_bad_records: int = 0  # whole, but no row can be made of them; kept in NAME.bad
    bad_bytes: int = 0  # these records, and damaged bytes; kept in NAME.bad
    num_labels: int = 0  # label events

    def __add__(self, other: Shipped) -> Shipped:
        """What both did."""
        return Shipped(
            self.num_segments + other.num_segments,
            self.num_records + other.num_records,
            self.num_bad_records + other.num_bad_records,
            self.bad_bytes + other.bad_bytes,
            self.num_labels + other.num_labels,
        )


def ship_once(spool: Path, store: Store) -> Shipped:
    """Ship every finished segment, oldest first, and those of dead processes.

    Raises:
        StoreError: the store failed; what was not shipped is still in the spool.
    """
    recover(spool)
    total = Shipped()
    for segment in sealed_segments(spool):
        try:
            total += _ship_segment(segment, store)
        except StoreError:
            raise
        except FileNotFoundError:  # another shipper took it
            continue
        except OSError as error:
            log.error("%s stays in the spool: %s", segment.name, error)  # noqa: TRY400
        except Exception:  # it must not stop the segments after it
            log.exception("%s is set aside whole as %s", segment.name, BAD)
            total += Shipped(bad_bytes=segment.stat().st_size)
            segment.rename(segment.with_suffix(BAD))
    return total


@dataclass(frozen=True, slots=True)
class FollowSettings:
    """How often the sidecar polls, and how long it drains."""

    poll_s: float = 5.0
    grace_s: float = 50.0  # after SIGTERM, time for the service to drain and finish its segment


def follow(
    spool: Path,
    store: Store,
    settings: FollowSettings,
    stop: threading.Event,
    *,
    emit: Callable[[str], None] = print,
) -> int:
    """Ship until `stop` is set, then until nothing is left or `grace_s` is over.

    A failing store is retried after 1, 2, 4, ... 60 s, each with jitter. Meanwhile the service may
    ask which reads are known.

    Returns:
        Number of segments that were not shipped.
    """
    with answering(spool, store):
        return _follow(spool, store, settings, stop, emit)


def _follow(
    spool: Path,
    store: Store,
    settings: FollowSettings,
    stop: threading.Event,
    emit: Callable[[str], None],
) -> int:
    delay_s, deadline_s, metrics_due_s = _RETRY_FIRST_S, float("inf"), 0.0
    sites_due_s = 0.0
    while True:
        try:
            done = ship_once(spool, store)
            delay_s, wait_s = _RETRY_FIRST_S, settings.poll_s
            if done.num_segments:
                log.info("shipped %s", done)
        except StoreError as error:
            wait_s = delay_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
            delay_s = min(2 * delay_s, _RETRY_LAST_S)
            log.error("%s; retry in %.1f s", error, wait_s)  # noqa: TRY400
        now_s = time.monotonic()
        if now_s >= sites_due_s:
            sites_due_s = now_s + site_sync.SYNC_S
            try:
                site_sync.sync(spool, store)
            except OSError as error:  # the next turn may succeed; records do not wait for it
                log.warning("site states not exchanged: %s", error)
        if now_s >= metrics_due_s:
            emit(emf.line({"CaptureBacklogBytes": backlog_bytes(spool)}))
            metrics_due_s = now_s + _METRICS_EVERY_S
        if stop.is_set():
            deadline_s = min(deadline_s, now_s + settings.grace_s)
            left = len(sealed_segments(spool))
            if now_s >= deadline_s or not (left or live_segments(spool)):
                return left
            time.sleep(min(wait_s, 1.0))
        else:
            stop.wait(wait_s)


def backlog_bytes(spool: Path) -> int:
    """Size of the segments that are not shipped yet."""
    sizes = []
    for path in spool.glob("*-*"):
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:  # shipped meanwhile
            continue
    return sum(sizes)


@dataclass(slots=True)
class _Found:
    """What a segment holds."""

    records: list[CaptureRecord] = field(default_factory=list)
    answers: list[AnswerRecord] = field(default_factory=list)  # of other models
    labels: list[LabelEvent] = field(default_factory=list)
    challenged: dict[tuple[str, int], ChallengerAnswer] = field(default_factory=dict)
    frame_of: dict[int, bytes] = field(default_factory=dict)  # id of a record -> its frame
    damaged: list[bytes] = field(default_factory=list)
    unread: list[bytes] = field(default_factory=list)

    def add(self, payload: bytes, frame: bytes) -> None:
        """Add what a whole frame holds. Raises ValueError: a RecordError, or it is none."""
        if payload.startswith(FIRST_BYTE):
            self.labels.append(decode_label(payload))
        elif payload.startswith(challenger_answer.FIRST_BYTE):
            key, answer = challenger_answer.decode(payload)
            self.challenged[key] = answer
        elif payload.startswith(answer_record.FIRST_BYTE):
            self.answers.append(answer_record.decode(payload))
            self.frame_of[id(self.answers[-1])] = frame
        else:
            self.records.append(decode(payload))
            self.frame_of[id(self.records[-1])] = frame


def _ship_segment(segment: Path, store: Store) -> Shipped:
    data = read_bytes(segment)
    found = _Found()
    for part in split_segment(segment, data):
        frame = data[part.start : part.end]
        if part.kind is not Kind.RECORD:
            found.damaged.append(frame)
            continue
        try:
            found.add(data[part.payload : part.end], frame)
        except ValueError as error:
            log.error("a record of %s is set aside: %s", segment.name, error)  # noqa: TRY400
            found.unread.append(frame)
    _join(found.records, found.challenged)
    tables, refused = rows_by_partition(found.records)
    answer_tables, refused_answers = answer_rows.rows_by_partition(found.answers)
    no_row: list[tuple[CaptureRecord | AnswerRecord, Exception]] = [*refused, *refused_answers]
    for record, why in no_row:
        log.error("record %s of %s is set aside: %r", record.read_id, segment.name, why)
        found.unread.append(found.frame_of[id(record)])
    tables |= answer_tables
    for folder, table in tables.items():
        store.put(f"{folder}/{segment.stem}.parquet", encode(table), content_type=PARQUET)
    if found.labels:
        add_events(store, found.labels, name=segment.stem)
    bad = b"".join((*found.unread, *found.damaged))
    if bad:
        _set_aside(segment, bad)
        log.error("%d bytes of %s are set aside as %s", len(bad), segment.name, BAD)
    segment.unlink(missing_ok=True)
    num_shipped = sum(table.num_rows for table in tables.values())
    return Shipped(1, num_shipped, len(found.unread), len(bad), len(found.labels))


def _join(
    records: Sequence[CaptureRecord], challenged: Mapping[tuple[str, int], ChallengerAnswer]
) -> None:
    """Put the challenger's answers into their records.

    An answer whose record is in the segment before is left out; no row depends on it.
    """
    for record in records:
        answer = challenged.get((record.read_id, record.index))
        if answer is not None:
            for name, value in asdict(answer).items():
                setattr(record, name, value)


def _set_aside(segment: Path, bad: bytes) -> None:
    try:
        replace_bytes(segment.with_suffix(BAD), bad)
    except OSError:  # no room: keep it whole, which takes none
        segment.rename(segment.with_suffix(BAD))
