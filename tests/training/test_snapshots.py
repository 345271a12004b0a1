"""Snapshots of labelled mail: dated, the same for ever, with a test share that is frozen."""

from datetime import date

import numpy as np
import pytest
from labelled_mail import capture, image_of, label, moment, read_id

from capture.compaction import expire
from capture.erasure import erase_from_archive
from capture.snapshot_files import months, read_manifest
from capture.store import open_store
from training.data.mnist_files import DataError
from training.snapshots.building import build
from training.snapshots.reading import read
from training.snapshots.splitting import split


@pytest.fixture
def archive(tmp_path):
    return open_store(str(tmp_path / "archive"))


@pytest.fixture
def data(tmp_path):
    return open_store(str(tmp_path / "data"))


@pytest.fixture
def fill(archive, tmp_path):
    """Capture and label crops of a month."""

    def fill(month, num=40, **changes):
        capture(archive, tmp_path, month, num, **changes)
        label(archive, month, range(num))

    return fill


def snapshot(archive, data, month):
    return build(archive, data, month, git_commit="c0ffee")


def bytes_of(store):
    return {key: store.get(key) for key in store.find("")}


def test_two_runs_give_the_same_bytes_whatever_came_later(archive, tmp_path, fill):
    fill("2026-10")
    first, second = (open_store(str(tmp_path / name)) for name in ("first", "second"))
    snapshot(archive, first, "2026-10")
    fill("2026-11", 10)  # reads and labels of the next month,
    label(archive, "2026-10", [3], said="9", when=moment("2026-11", 2))  # a late correction,
    expire(archive, keep_days=90, today=date(2027, 6, 1))  # and the records are gone
    snapshot(archive, second, "2026-10")
    assert bytes_of(second) == bytes_of(first)


def test_the_manifest_says_what_the_data_is(archive, data, fill):
    fill("2026-10")
    made = snapshot(archive, data, "2026-10")
    fill("2026-11", 10)
    after = snapshot(archive, data, "2026-11")
    manifest = read_manifest(data, "2026-11")
    assert after.version.startswith("2026-11-")
    assert manifest["parent"] == made.version
    assert manifest["rows"] == 50
    assert manifest["label_events"]["number"] == 50
    assert manifest["label_events"]["latest"] == "2026-11-12T12:00:09+00:00"
    assert manifest["git_commit"] == "c0ffee"
    train = manifest["files"]["train"]
    assert sum(train["counts"]["label"].values()) == train["rows"] == 40
    assert set(train["counts"]["site"]) == {"bonn-1", "koeln-1"}


def test_a_second_run_changes_nothing_and_says_so(archive, data, fill):
    fill("2026-10")
    first = snapshot(archive, data, "2026-10")
    before = bytes_of(data)
    again = snapshot(archive, data, "2026-10")
    assert (again.version, again.is_new) == (first.version, False)
    assert bytes_of(data) == before


def test_late_labels_are_refused_and_join_the_next_month(archive, data, tmp_path, fill):
    capture(archive, tmp_path, "2026-10", 40)
    label(archive, "2026-10", range(30))
    snapshot(archive, data, "2026-10")
    label(archive, "2026-10", range(30, 40))  # keyed in October, shipped in November
    with pytest.raises(DataError, match=r"30 crops.*40 crops.*later --as-of"):
        snapshot(archive, data, "2026-10")
    snapshot(archive, data, "2026-11")
    found = read(data, "2026-11")
    assert len(found.train) + len(found.test) == 40


def test_an_earlier_month_than_the_latest_is_refused(archive, data, fill):
    fill("2026-10")
    snapshot(archive, data, "2026-10")
    with pytest.raises(DataError, match="in order"):
        snapshot(archive, data, "2026-09")


def test_labels_outlive_the_captures(archive, data, fill):
    fill("2026-10")
    snapshot(archive, data, "2026-10")
    expire(archive, keep_days=90, today=date(2027, 6, 1))
    assert archive.find("records/") == []
    snapshot(archive, data, "2027-06")
    assert len(read(data, "2027-06").train) == 32


def test_crops_that_the_archive_lost_are_carried_from_the_parent(archive, data, tmp_path, fill):
    fill("2026-10")
    snapshot(archive, data, "2026-10")
    other = open_store(str(tmp_path / "new archive"))
    capture(other, tmp_path, "2026-11", 10)
    label(other, "2026-11", range(10))
    snapshot(other, data, "2026-11")
    assert read_manifest(data, "2026-11")["rows"] == 50


def test_a_row_says_who_labelled_it_how_and_for_how_many_it_stands(archive, data, tmp_path):
    capture(
        archive, tmp_path, "2026-10", 10, accepted=True, rejected_because=None,
        audit_probability=0.05,
    )  # fmt: skip
    label(archive, "2026-10", range(5), how="audit")
    label(archive, "2026-10", range(5, 10))
    label(archive, "2026-10", [0], who="bob")
    snapshot(archive, data, "2026-10")
    found = read(data, "2026-10")
    rows = {
        name: (part.hows[row], part.whos[row], part.weights[row])
        for part, ids in ((found.train, found.train_ids), (found.test, found.test_ids))
        for row, name in enumerate(ids.tolist())
    }
    assert rows[f"{read_id('2026-10', 0)}/0"] == ("audit", "ada + bob", 20.0)
    assert rows[f"{read_id('2026-10', 1)}/0"] == ("audit", "ada", 20.0)
    assert rows[f"{read_id('2026-10', 7)}/0"] == ("keyed", "ada", 1.0)


def test_what_is_no_digit_or_in_dispute_is_counted_and_left_out(archive, data, fill):
    fill("2026-10")
    later = moment("2026-10", 13)
    label(archive, "2026-10", [0], said="not_a_digit", when=later)
    label(archive, "2026-10", [1], said="unreadable", when=later)
    label(archive, "2026-10", [2], said="9", who="bob")
    snapshot(archive, data, "2026-10")
    manifest = read_manifest(data, "2026-10")
    assert manifest["rows"] == 37
    left_out = manifest["left_out"]
    assert (left_out["not a digit"], left_out["unreadable"], left_out["in dispute"]) == (1, 1, 1)


def test_reads_of_a_site_on_hold_are_counted_and_left_out(archive, data, tmp_path):
    capture(archive, tmp_path, "2026-10", 6, rejected_because="site_on_hold")
    label(archive, "2026-10", range(6))
    made = build(archive, data, "2026-10", git_commit="abc")
    assert (made.num_train, made.num_test) == (0, 0)
    assert read_manifest(data, "2026-10")["left_out"]["site on hold"] == 6


def test_a_correction_of_a_later_month_counts_from_then_on(archive, data, fill):
    fill("2026-10")
    snapshot(archive, data, "2026-10")
    label(archive, "2026-10", [3], said="8", when=moment("2026-11", 2))
    snapshot(archive, data, "2026-11")
    assert label_in(data, "2026-10", 3) == 3
    assert label_in(data, "2026-11", 3) == 8


def label_in(data, as_of, number):
    found = read(data, as_of)
    ids = [*found.train_ids.tolist(), *found.test_ids.tolist()]
    labels = [*found.train.labels.tolist(), *found.test.labels.tolist()]
    return labels[ids.index(f"{read_id('2026-10', number)}/0")]


def test_the_test_share_never_meets_training_and_never_shrinks(archive, data, fill):
    seen_test, seen_train = set(), set()
    for number, month in enumerate(("2026-09", "2026-10", "2026-11", "2026-12")):
        fill(month, 20 + 10 * number)
        snapshot(archive, data, month)
        found = read(data, month)
        test, train = set(found.test_ids.tolist()), set(found.train_ids.tolist())
        assert seen_test <= test
        assert seen_train <= train
        assert not (test | seen_test) & (train | seen_train)
        seen_test, seen_train = test, train
        for site in ("bonn-1", "koeln-1"):
            num_test = (found.test.sites == site).sum()
            num = num_test + (found.train.sites == site).sum()
            assert num_test == pytest.approx(0.2 * num, abs=1)


def test_a_disputed_test_crop_stays_with_its_label_until_a_third_person_decides(
    archive, data, fill
):
    fill("2026-10")
    snapshot(archive, data, "2026-10")
    test = set(read(data, "2026-10").test_ids.tolist())
    when = moment("2026-11", 2)
    label(archive, "2026-10", range(40), said="not_a_digit", who="bob", when=when)
    snapshot(archive, data, "2026-11")
    found = read(data, "2026-11")
    assert set(found.test_ids.tolist()) == test
    assert len(found.train) == 0


def test_a_test_crop_that_shows_no_digit_after_all_leaves_the_share(archive, data, fill):
    fill("2026-10")
    snapshot(archive, data, "2026-10")
    name = read(data, "2026-10").test_ids[0]
    number, when = int(name[-14:-2]), moment("2026-11", 2)
    label(archive, "2026-10", [number], said="not_a_digit", when=when)
    snapshot(archive, data, "2026-11")
    found = read(data, "2026-11")
    assert name not in {*found.train_ids, *found.test_ids}
    assert len(found.test) == 7


def test_what_a_new_crop_would_join_stays_where_it_was():
    images = np.random.default_rng(1).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    in_test = split(["a", "a", "a"], ["bonn-1"] * 3, images, {0: False, 1: True})
    assert in_test.tolist() == [False, True, True]


def test_near_duplicates_go_where_the_first_one_is(archive, data, tmp_path, fill):
    fill("2026-10")
    snapshot(archive, data, "2026-10")
    test = set(read(data, "2026-10").test_ids.tolist())
    for number in range(40):  # the same pictures in other light, under other ids
        image = image_of("2026-10", number) // 2
        capture_one(archive, tmp_path, number, image)
    label(archive, "2026-11", range(40))
    snapshot(archive, data, "2026-11")
    found = read(data, "2026-11")
    again = {
        f"{read_id('2026-10', int(name[-14:-2]))}/0"
        for name in found.test_ids.tolist()
        if name not in test
    }
    assert again == test


def capture_one(archive, folder, number, image):
    from made_records import make

    from capture import ship
    from capture.spool import Spool

    path = folder / f"one-{number}"
    spool = Spool(path)
    time_us = int(moment("2026-11", 10).timestamp() * 1_000_000) + number
    name = read_id("2026-11", number)
    changes = {"read_id": name, "request_id": name, "time_us": time_us, "image": image}
    spool.append(make(number, site=("bonn-1", "koeln-1")[number % 2], **changes))
    spool.close()
    ship.ship_once(path, archive)


def test_an_erased_read_is_in_no_later_snapshot(archive, data, fill):
    fill("2026-10")
    snapshot(archive, data, "2026-10")
    erase_from_archive(archive, read_id("2026-10", 5))
    snapshot(archive, data, "2026-11")
    found = read(data, "2026-11")
    assert f"{read_id('2026-10', 5)}/0" not in {*found.train_ids, *found.test_ids}


def test_a_month_without_labels_gives_an_empty_snapshot(archive, data):
    made = snapshot(archive, data, "2026-10")
    assert (made.num_train, made.num_test, months(data)) == (0, 0, ["2026-10"])
    assert read(data, "2026-10").train.images.shape == (0, 28, 28)
