"""Labelled crops outlive the records, and erasure reaches them."""

from datetime import date

import numpy as np
import pytest

from capture import archive, labelled, ship
from capture.compaction import expire
from capture.erasure import erase_from_archive
from capture.kept_crops import keep_labelled
from capture.label_event import LabelEvent
from capture.labels import add_events
from capture.spool import Spool

LONG_AFTER = date(2027, 6, 1)


@pytest.fixture
def label(store, tmp_path, make_record):
    """Capture four crops of one request and others; label some of them."""
    spool = Spool(tmp_path / "spool")
    for number in range(4):
        spool.append(make_record(number))
    spool.close()
    ship.ship_once(tmp_path / "spool", store)

    def label(*numbers):
        events = [
            LabelEvent(make_record(number).read_id, 0, str(number), "ada", 1, "keyed")
            for number in numbers
        ]
        add_events(store, events)

    return label


def test_labelled_crops_outlive_the_records(store, label, make_record):
    label(1, 3, 99)
    before = labelled.read(store)
    assert keep_labelled(store) == 2
    expire(store, keep_days=90, today=LONG_AFTER)
    assert store.find(f"{archive.RECORDS}/") == []
    after = labelled.read(store)
    np.testing.assert_array_equal(after.images, before.images)
    assert sorted(after.labels.tolist()) == [1, 3]


def test_where_nobody_labelled_nothing_is_kept(store, label):
    assert keep_labelled(store) == 0


def test_a_crop_is_kept_once_and_a_later_label_adds_its_own(store, label):
    label(1)  # the records' ids are of another year than their times
    assert (keep_labelled(store), keep_labelled(store)) == (1, 0)
    label(1, 2)
    assert keep_labelled(store) == 1
    assert len(labelled.read(store)) == 2


def test_erasing_a_read_removes_its_kept_crop(store, label, make_record):
    label(1, 3)
    keep_labelled(store)
    erase_from_archive(store, make_record(3).read_id)
    for key in store.find("labelled/"):
        assert archive.decode(store.get(key))["read_id"].to_pylist() == [make_record(1).read_id]
    assert labelled.read(store).labels.tolist() == [1]


def test_the_expire_command_keeps_labelled_crops_first(tmp_path, label, store, monkeypatch):
    from monitoring.__main__ import main

    label(2)
    monkeypatch.setattr("capture.commands.today", lambda: LONG_AFTER)
    assert main(["expire", "--store", store.url]) == 0
    assert store.find(f"{archive.RECORDS}/") == []
    assert labelled.read(store).labels.tolist() == [2]
