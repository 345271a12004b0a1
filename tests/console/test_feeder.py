"""From captured records to letters: what is asked, and what is not."""

from datetime import UTC, datetime

import numpy as np
import pytest
from made_records import make
from sqlalchemy import select

from capture.erasure import erase_from_archive
from capture.frames import add_head
from capture.label_event import LabelEvent, encode
from capture.sampling import SYNTHETIC_SITE
from capture.ship import ship_once
from capture.spool import Spool
from console.keying import choosing
from console.keying.feeder import Feeder
from console.tables import CropRow, LabelRequest, LetterRow, VoteRow
from serving.api.codes import Postcodes
from serving.edge.request_id import new_request_id

NOW_US = int(datetime.now(UTC).timestamp() * 1e6)
WHOLE_FRAC = choosing._WHOLE_FRAC
REJECTED = {"accepted": False, "rejected_because": "low_confidence"}


@pytest.fixture
def spool(console):
    made = Spool(console.settings.capture.spool)
    yield made
    made.close()


@pytest.fixture
def archive(console, spool):
    """Ships what was spooled."""

    def ship():
        spool.flush()
        ship_once(console.settings.capture.spool, console.archive)

    return ship


@pytest.fixture(autouse=True)
def no_cover(monkeypatch):
    """No letter is asked whole that need not be."""
    monkeypatch.setattr(choosing, "_WHOLE_FRAC", 0.0)


def read(spool, *crops, **shared):
    """Spool one read; each crop is what differs from an accepted one."""
    read_id = new_request_id()
    for index, changes in enumerate(crops):
        spool.append(
            make(
                index + 4,
                read_id=read_id,
                request_id=read_id,
                index=index,
                time_us=NOW_US,
                **shared,
                **changes,
            )
        )
    return read_id


def letters(console):
    """Read id -> index -> how it is asked."""
    found = {}
    with console.transaction() as database:
        for crop in database.scalars(select(CropRow)):
            found.setdefault(crop.read_id, {})[crop.crop_index] = crop.how
        assert set(found) == set(database.scalars(select(LetterRow.read_id)))
    return found


def look_twice(feeder):
    """What the spool has new is held for one look."""
    feeder.look()
    feeder.look()


def test_a_rejected_crop_in_the_spool_becomes_a_letter_with_its_siblings(console, spool):
    read_id = read(spool, {}, REJECTED, {})
    look_twice(Feeder(console))
    assert letters(console) == {read_id: {0: None, 1: "keyed", 2: None}}


def test_a_crop_that_is_written_a_moment_later_joins_its_letter(console, spool):
    feeder = Feeder(console)
    read_id = read(spool, REJECTED)
    feeder.look()
    spool.append(make(5, read_id=read_id, request_id=read_id, index=1, time_us=NOW_US))
    feeder.look()
    feeder.look()
    assert letters(console) == {read_id: {0: "keyed", 1: None}}


def test_accepted_reads_and_synthetic_ones_are_not_asked(console, spool):
    read(spool, {}, {})
    read(spool, REJECTED, site=SYNTHETIC_SITE)
    look_twice(Feeder(console))
    assert letters(console) == {}


@pytest.mark.parametrize("is_archived", [False, True])
def test_a_code_that_is_rejected_although_its_digits_are_accepted_is_asked(
    console, spool, archive, is_archived
):
    """Digits of 98 % make a code of less than 95 %, and none that the directory has."""
    unsure, sure = read(spool, {}, {}, threshold=0.97), read(spool, {}, {}, {})
    if is_archived:
        archive()
    look_twice(Feeder(console))
    assert letters(console) == {unsure: {0: "keyed", 1: "keyed"}}
    assert sure not in letters(console)
    impossible, possible = read(spool, {}, {}), read(spool, {}, {}, {})
    if is_archived:
        archive()
    directory = Postcodes({2: np.array([99]), 3: np.array([456])})
    look_twice(Feeder(console, directory))
    assert set(letters(console)) == {unsure, impossible}
    assert possible not in letters(console)


def test_a_letter_of_a_site_on_hold_is_asked(console, spool):
    read_id = read(spool, {"accepted": False, "rejected_because": "site_on_hold"})
    look_twice(Feeder(console))
    assert letters(console) == {read_id: {0: "keyed"}}


def test_a_letter_with_a_marked_crop_is_asked_whole(console, spool):
    read_id = read(spool, {}, {"audit_probability": 0.1}, {})
    look_twice(Feeder(console))
    assert letters(console) == {read_id: {0: "keyed", 1: "audit", 2: "keyed"}}


def test_one_rejected_letter_in_twenty_is_asked_whole_so_that_no_audit_is_told_apart(monkeypatch):
    monkeypatch.setattr(choosing, "_WHOLE_FRAC", WHOLE_FRAC)
    num_letters, num_whole = 4_000, 0
    for number in range(num_letters):
        crops = [
            choosing.SeenCrop(
                read_id=f"read {number}", crop_index=index, site="leeds", time_us=NOW_US,
                deadline_us=None, digit=7, is_accepted=index > 0, is_marked=False, is_bulk=False,
                rejected_because=None if index else "low_confidence", probs=None, threshold=0.9,
                picture=lambda: (b"", 28, 28),
            )
            for index in range(3)
        ]  # fmt: skip
        hows = [one.how for one in choosing.choose_letter(crops).crops]
        assert hows in (["keyed", None, None], ["keyed"] * 3)
        num_whole += hows[1] is not None
    assert 0.04 < num_whole / num_letters < 0.06


def test_of_a_bulk_request_only_marked_crops_are_asked(console, spool):
    read_id = read(spool, REJECTED, {"audit_probability": 0.1}, {}, is_bulk=True)
    look_twice(Feeder(console))
    assert letters(console) == {read_id: {1: "audit"}}


def test_a_deadline_comes_with_the_letter(console, spool):
    read_id = read(spool, REJECTED, deadline_us=NOW_US + 5_000_000)
    look_twice(Feeder(console))
    with console.transaction() as database:
        assert database.get(LetterRow, read_id).deadline_us == NOW_US + 5_000_000


def test_the_archive_gives_the_same_letters_as_the_spool(console, spool, archive):
    one = read(spool, {}, REJECTED, deadline_us=NOW_US)
    two = read(spool, {"audit_probability": 0.1})
    read(spool, REJECTED, is_bulk=True)
    archive()
    look_twice(Feeder(console))
    assert letters(console) == {one: {0: None, 1: "keyed"}, two: {0: "audit"}}
    with console.transaction() as database:
        assert database.get(LetterRow, one).deadline_us == NOW_US


def test_two_consoles_make_one_letter(console, spool, archive):
    read_id = read(spool, REJECTED)
    look_twice(Feeder(console))
    archive()
    look_twice(Feeder(console))
    assert letters(console) == {read_id: {0: "keyed"}}


def test_a_crop_with_a_settled_label_is_not_asked(console, spool, archive):
    read_id = read(spool, REJECTED)
    label(spool, read_id)
    archive()
    look_twice(Feeder(console))
    assert letters(console) == {}


def test_a_label_that_came_another_way_counts(console, spool):
    read_id = read(spool, REJECTED)
    feeder = Feeder(console)
    look_twice(feeder)
    label(spool, read_id)
    look_twice(feeder)
    with console.transaction() as database:
        assert database.scalars(select(VoteRow.label)).all() == ["7"]


def label(spool, read_id):
    event = LabelEvent(read_id, 0, "7", "carla", NOW_US, "keyed", "leeds")
    spool.append_frames([add_head(encode(event))])


def test_an_erased_read_is_dropped_and_does_not_come_back(console, spool, archive):
    read_id = read(spool, REJECTED)
    feeder = Feeder(console)
    look_twice(feeder)
    archive()
    erase_from_archive(console.archive, read_id)
    feeder._next_archive_s = 0.0
    look_twice(feeder)
    look_twice(Feeder(console))
    assert letters(console) == {}


def test_a_clock_that_was_ahead_for_a_while_costs_no_letter(console, spool, archive, monkeypatch):
    read_id = read(spool, REJECTED)
    archive()
    feeder = Feeder(console)
    look_twice(feeder)
    now_us = console.now_us
    for ahead_days, expected in ((400, {}), (0, {read_id: {0: "keyed"}})):
        moved = staticmethod(lambda days=ahead_days: now_us() + days * 86_400_000_000)
        monkeypatch.setattr(type(console), "now_us", moved)
        feeder._next_archive_s = 1.0  # it is time to look
        look_twice(feeder)
        assert letters(console) == expected


def test_each_record_of_the_spool_is_read_once(console, spool):
    feeder = Feeder(console)
    read(spool, REJECTED)
    feeder.look()
    assert len(feeder._held) == 1
    spool.flush()  # the segment has another suffix now
    feeder.look()
    assert feeder._held == {}


def request_labels(console, read_id, *indices):
    with console.transaction() as database, database.begin():
        database.add_all(
            LabelRequest(
                read_id=read_id, crop_index=index, site="leeds", asked_by="ada", asked_us=NOW_US,
                probability=0.5,
            )
            for index in indices
        )  # fmt: skip


def test_an_accepted_crop_that_an_analyst_wants_labelled_is_asked(console, spool, archive):
    read_id = read(spool, {}, {})
    archive()
    request_labels(console, read_id, 1)
    look_twice(Feeder(console))
    assert letters(console) == {read_id: {0: None, 1: "keyed"}}


def test_a_requested_crop_of_a_letter_that_is_done_opens_it_again(console, spool, archive):
    read_id = read(spool, {}, REJECTED)
    archive()
    look_twice(Feeder(console))
    with console.transaction() as database, database.begin():
        database.get(LetterRow, read_id).closed_us = NOW_US
    request_labels(console, read_id, 0)
    look_twice(Feeder(console))
    assert letters(console) == {read_id: {0: "keyed", 1: "keyed"}}
    with console.transaction() as database:
        assert database.get(LetterRow, read_id).closed_us is None


def test_a_requested_crop_that_is_labelled_is_not_asked(console, spool, archive):
    read_id = read(spool, {})
    event = LabelEvent(read_id, 0, "3", "ben", NOW_US, "keyed", "leeds")
    spool.append_frames([add_head(encode(event))])
    archive()
    request_labels(console, read_id, 0)
    feeder = Feeder(console)
    look_twice(feeder)
    feeder._next_archive_s = 0.001
    look_twice(feeder)
    assert letters(console) == {}
