"""Labelled captures as the file that retraining reads."""

import numpy as np
from made_records import make

from capture import archive, labelled, ship
from capture.erasure import fingerprint
from capture.label_event import LabelEvent
from capture.labels import add_events
from capture.sampling import SYNTHETIC_SITE
from capture.spool import Spool
from capture.store import open_store


def archived(tmp_path, labels, **changes):
    spool = Spool(tmp_path / "spool")
    for number in range(4):
        spool.append(make(number, **changes))
    spool.append(make(4, image=None, crop=None, digit=None, probs=()))  # blank
    spool.close()
    store = open_store(str(tmp_path / "archive"))
    ship.ship_once(tmp_path / "spool", store)
    events = [
        LabelEvent(make(number).read_id, 0, str(label), "ada", 1, "keyed")
        for number, label in labels.items()
    ]
    add_events(store, events)
    return store


def test_labels_find_the_images_that_the_model_saw(tmp_path):
    store = archived(tmp_path, {0: 7, 2: 5, 4: 1, 99: 3})  # 4 is blank, 99 was never captured
    found = labelled.read(store)
    assert len(found) == 2
    by_label = dict(zip(found.labels.tolist(), found.images, strict=True))
    np.testing.assert_array_equal(by_label[7], make(0).image)
    np.testing.assert_array_equal(by_label[5], make(2).image)


def test_what_was_erased_is_not_trained_on(tmp_path):
    store = archived(tmp_path, {0: 7, 2: 5})
    key = f"{archive.ERASED}/{fingerprint(make(2).read_id)}"
    store.put(key, b"", content_type="text/plain")  # its rows are still on their way out
    assert labelled.read(store).labels.tolist() == [7]


def test_synthetic_reads_are_not_trained_on(tmp_path):
    store = archived(tmp_path, {0: 7, 2: 5}, site=SYNTHETIC_SITE)
    assert len(labelled.read(store)) == 0


def test_an_archive_without_labels_gives_none(tmp_path):
    assert len(labelled.read(open_store(str(tmp_path)))) == 0


def test_crops_that_are_no_digit_or_unreadable_are_not_trained_on(tmp_path):
    store = archived(tmp_path, {0: "not_a_digit", 1: "unreadable", 2: 5})
    assert labelled.read(store).labels.tolist() == [5]
