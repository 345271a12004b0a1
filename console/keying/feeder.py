"""Fills the queue: once a second from the spool, every half minute from the archive.

A thread of each console. Several consoles find the same letters; the first one's are kept. The
crops of a read may be written one after the other, so a read is held until a look finds no more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Final

import pyarrow as pa
from sqlalchemy.exc import SQLAlchemyError

from capture.archive import KEY
from capture.erasure import erased_ids, fingerprint
from capture.follow import SpoolFollower
from capture.label_decision import settle
from capture.label_event import LabelEvent
from capture.labels import event_files, events_in
from capture.record import CaptureRecord
from capture.rows import pixels_of, to_png
from console.keying.archived import NUM_DAYS, asked_reads, crops_of, events_of, record_files
from console.keying.choosing import FoundLetter, SeenCrop, choose_letter
from console.keying.keyed import Key, load_keyed
from console.keying.letter_store import (
    add_letters,
    count_open,
    drop_erased,
    known_ids,
    open_ids,
    prune,
    writing,
)
from console.keying.requested import take_requested
from console.keying.votes import add_votes
from console.visit import Console
from serving.api.codes import Postcodes

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
ARCHIVE_S: Final = 30.0
MAX_OPEN: Final = 20_000  # letters in the queue; while there are more, the archive is not read
_RETRY_S: Final = 5.0
_SET_BACK_US: Final = 3_600_000_000  # less is a correction, which makes nobody's mail too old
_AT_ONCE: Final = 200  # letters in one transaction: a keyer's label waits for it


class Feeder:
    """The queue's source.

    Args:
        console: its archive, spool and database.
        directory: of valid codes, where one is in force.
    """

    def __init__(self, console: Console, directory: Postcodes | None = None) -> None:
        self._directory = directory
        self._console = console
        self._archive = console.archive
        self._spool = SpoolFollower(console.settings.capture.spool)
        self._held: dict[str, list[SeenCrop]] = {}  # reads that may still grow
        self._events: list[LabelEvent] = []
        self._labelled: set[Key] = set()  # crops that people need not be asked about
        self._erased: frozenset[str] = frozenset()
        self._read: set[str] = set()  # files of the archive
        self._pending: list[str] = []  # those still to be read, the next one last
        self._next_archive_s = 0.0
        self._looked_us = 0  # by the wall clock, into the archive
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keying", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End after the look in progress."""
        self._stop.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stop.is_set():
            began_s = time.monotonic()
            try:
                self.look()
            except (OSError, SQLAlchemyError, pa.ArrowException) as error:
                log.warning("letters to key cannot be fetched: %s", error)
                self._pending, self._next_archive_s = [], 0.0
                self._stop.wait(_RETRY_S)
            pause_s = 0.0 if self._pending else LOOK_S - (time.monotonic() - began_s)
            self._stop.wait(max(pause_s, 0.05))

    def look(self) -> None:
        """Take what is new; of the archive one file."""
        if time.monotonic() >= self._next_archive_s:
            self._look_into_archive()
            self._next_archive_s = time.monotonic() + ARCHIVE_S
        if self._pending and self._has_room():
            self._take_file(self._pending.pop())
        self._look_into_spool()

    def _look_into_spool(self) -> None:
        new = [one for found in self._spool.read_new() for one in found if _may_matter(one)]
        records = [one for one in new if isinstance(one, CaptureRecord)]
        growing = {one.read_id for one in records}
        complete = [read_id for read_id in self._held if read_id not in growing]
        self._add(map(self._held.pop, complete))
        self._vote(self._events)  # of letters that are there now
        self._events = [one for one in new if isinstance(one, LabelEvent)]
        for record in records:
            self._held.setdefault(record.read_id, []).append(_seen(record))

    def _look_into_archive(self) -> None:
        is_first, now_us = not self._next_archive_s, self._console.now_us()
        if now_us < self._looked_us - _SET_BACK_US:  # what was too old by the wrong clock is not
            log.warning("the clock was set back; the archive is read again")
            is_first, self._read = True, set()
        self._looked_us = now_us
        erased = erased_ids(self._archive)
        if erased != self._erased:
            self._erased = erased
            with writing(self._console) as database:
                drop_erased(database, erased)
        self._take_labels([key for key in event_files(self._archive) if key not in self._read])
        take_requested(self._console, self._labelled)
        today = datetime.fromtimestamp(now_us / 1e6, UTC).date()
        files = record_files(self._archive, today, NUM_DAYS if is_first else 2)
        new = [key for key in files if key not in self._read and key not in self._pending]
        self._pending += reversed(new)
        with writing(self._console) as database:
            prune(
                database, now_us, num_days=NUM_DAYS,
                keep_days=self._console.settings.capture.keep_days,
            )  # fmt: skip

    def _take_labels(self, keys: Sequence[str]) -> None:
        if not keys:
            return
        events = events_in(self._archive, keys)
        self._labelled |= set(settle(events)[KEY].itertuples(index=False, name=None))
        with self._console.transaction() as database:
            known = open_ids(database)
        self._vote(events_of(events, known))
        self._read |= set(keys)

    def _take_file(self, key: str) -> None:
        asked = asked_reads(self._archive, key, self._directory)
        with self._console.transaction() as database:
            new = set(asked) - known_ids(database, asked)
        reads: dict[str, list[SeenCrop]] = defaultdict(list)
        for crop in crops_of(self._archive, key, new) if new else ():
            reads[crop.read_id].append(crop)
        self._add(reads.values())
        self._read.add(key)

    def _add(self, reads: Iterable[Sequence[SeenCrop]]) -> None:
        chosen = (choose_letter(crops, self._directory) for crops in reads)
        wanted = (one for one in chosen if one is not None and self._is_wanted(one))
        while some := list(islice(wanted, _AT_ONCE)):
            with writing(self._console) as database:
                add_letters(database, some)

    def _is_wanted(self, letter: FoundLetter) -> bool:
        asked = [(letter.read_id, one.crop_index) for one in letter.crops if one.how]
        is_open = any(key not in self._labelled for key in asked)
        return is_open and fingerprint(letter.read_id) not in self._erased

    def _vote(self, events: Sequence[LabelEvent]) -> None:
        rest = iter(events)
        while some := list(islice(rest, _AT_ONCE)):
            read_ids = {one.read_id for one in some}
            with self._console.transaction() as database:
                keyed = load_keyed(database, read_ids)
                if not any(keyed.is_new(one) for one in some):
                    continue  # those of this console are noted already
            with writing(self._console) as database:
                keyed = load_keyed(database, read_ids)
                add_votes(database, keyed, some, {}, self._console.now_us())

    def _has_room(self) -> bool:
        with self._console.transaction() as database:
            return count_open(database) < MAX_OPEN


def _may_matter(one: CaptureRecord | LabelEvent) -> bool:
    """Whether a look needs it: of a bulk request only marked crops are asked."""
    return isinstance(one, LabelEvent) or not one.is_bulk or one.audit_probability > 0


def _seen(record: CaptureRecord) -> SeenCrop:
    return SeenCrop(
        read_id=record.read_id,
        crop_index=record.index,
        site=record.site,
        time_us=record.time_us,
        deadline_us=record.deadline_us,
        digit=record.digit,
        is_accepted=record.accepted,
        is_marked=record.audit_probability > 0,
        is_bulk=record.is_bulk,
        rejected_because=record.rejected_because,
        probs=None if record.digit is None else tuple(record.probs),
        threshold=record.threshold,
        picture=partial(_picture, record),
    )


def _picture(record: CaptureRecord) -> tuple[bytes, int, int] | None:
    """The crop; where it was not kept, the image that the model saw, in dark ink."""
    pixels = pixels_of(record)
    if pixels is None:
        pixels = None if record.image is None else ~record.image
    if pixels is None:
        return None
    return to_png(pixels), pixels.shape[1], pixels.shape[0]
