"""Validation names what is wrong with labelled mail, keeps the rest, accuses no honest source."""

from dataclasses import replace

import numpy as np
import pytest

from training.snapshots.reading import MailCrops
from training.snapshots.validation import Limits, validate

NUM = 240


def mail_of(rng, num=NUM):
    """Random pictures: none looks like another. Four people of two sites take turns by 60 crops."""
    who = np.array([f"p{row // 60 % 4}" for row in range(num)])
    return MailCrops(
        rng.integers(0, 256, (num, 28, 28), dtype=np.uint8),
        rng.integers(0, 10, num).astype(np.uint8),
        np.where(np.isin(who, ["p0", "p1"]), "bonn-1", "koeln-1"),
        np.full(num, "captures"),
        np.full(num, "keyed"),
        who,
        np.ones(num),
    )


def champion_of(rng, labels):
    """A calibrated champion that is unsure, as of rejects: right in about nine of ten crops."""
    probs = np.full((len(labels), 10), 0.01)
    first = rng.uniform(0.55, 0.91, len(labels))
    second = rng.integers(1, 10, len(labels))
    is_right = rng.random(len(labels)) < first / (first + 0.91 - first + 0.01)
    top = np.where(is_right, labels, (labels + second) % 10)
    other = np.where(is_right, (labels + second) % 10, labels)
    probs[np.arange(len(labels)), top] = first
    probs[np.arange(len(labels)), other] = 0.92 - first
    return probs / probs.sum(axis=1, keepdims=True)


def with_slips(rng, mail, frac=0.01):
    slips = rng.random(len(mail)) < frac
    other = (mail.labels + rng.integers(1, 10, len(mail))) % 10
    return replace(mail, labels=np.where(slips, other, mail.labels).astype(np.uint8))


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def mail(rng):
    return mail_of(rng)


@pytest.fixture
def test(rng):
    return mail_of(rng, 60)


@pytest.fixture
def probs(rng, mail):
    return champion_of(rng, mail.labels)


@pytest.mark.parametrize("label", [10, 12, 255])
def test_a_label_that_is_no_digit_is_refused_with_its_part_and_row(mail, test, probs, label):
    mail.labels[17] = label
    report = validate(mail, test, probs)
    assert report.is_refused
    assert report.verdict == f"refused: train, row 17: label {label}; labels are 0 to 9"
    assert not report.keep.any()


def test_a_wrong_label_in_the_test_share_is_refused_too(mail, test, probs):
    test.labels[3] = 12
    assert "test, row 3: label 12" in validate(mail, test, probs).verdict


def test_honest_people_are_kept(mail, test):
    accused = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        honest = mail_of(rng)
        report = validate(with_slips(rng, honest), test, champion_of(rng, honest.labels))
        accused += len(report.quarantined)
        assert report.keep.mean() > 0.97
    assert accused == 0


def swapped(mail, rows):
    labels = mail.labels.copy()
    labels[rows] = np.array([0, 1, 2, 3, 9, 5, 6, 7, 8, 4])[labels[rows]]
    return replace(mail, labels=labels)


def test_a_person_who_swaps_4_and_9_in_60_crops_is_quarantined_and_named(test):
    named = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        honest = mail_of(rng)
        probs = champion_of(rng, honest.labels)
        bad = swapped(with_slips(rng, honest), np.arange(60, 120))
        report = validate(bad, test, probs)
        named += [one.source.name for one in report.quarantined] == ["p1"]
    assert named >= 18


def test_one_bad_batch_is_found_in_a_persons_good_year(test):
    rng = np.random.default_rng(3)
    honest = mail_of(rng, 1_440)
    probs = champion_of(rng, honest.labels)
    report = validate(swapped(honest, np.arange(300, 360)), test, probs)  # p1's second batch
    (found,) = report.quarantined
    assert str(found).startswith("person p1: 4 and 9 are exchanged")
    is_swapped = np.isin(honest.labels[300:360], [4, 9])
    assert not report.keep[300:360][is_swapped].any()
    assert len(found.source.rows) < 120


def test_labels_that_slipped_by_a_line_are_quarantined(mail, test, probs):
    mail.labels[:60] = np.roll(mail.labels[:60], 1)
    (found,) = validate(mail, test, probs).quarantined
    assert str(found).startswith("person p0: labels do not belong to their crops")


def test_an_added_set_with_foreign_labels_is_quarantined(rng, mail, test, probs):
    mail.sources[:60], mail.whos[:60] = "old-1998", ""
    mail.labels[:60] = rng.permutation(mail.labels[:60])
    (found,) = validate(mail, test, probs).quarantined
    assert (found.source.kind, found.source.name) == ("added set", "old-1998")


def test_a_quarantine_stops_training_where_that_is_chosen(mail, test, probs):
    mail.labels[:60] = np.roll(mail.labels[:60], 1)
    assert not validate(mail, test, probs).is_refused
    assert validate(mail, test, probs, limits=Limits(stop_on_quarantine=True)).is_refused


def test_a_champion_that_is_too_sure_of_new_mail_accuses_nobody(rng, mail, test):
    is_right = rng.random(NUM) < 0.6
    digits = np.where(is_right, mail.labels, (mail.labels + rng.integers(1, 10, NUM)) % 10)
    probs = np.full((NUM, 10), 0.002)
    probs[np.arange(NUM), digits] = 0.982
    assert not validate(mail, test, probs).quarantined


def test_a_site_whose_4_the_champion_takes_for_9_is_not_accused(mail, test, probs):
    rest = np.flatnonzero(np.isin(mail.labels[:60], [4, 9]))
    mail.labels[rest], probs[rest] = 3, np.eye(10)[3] * 0.8 + 0.02
    mail.labels[:60:6], probs[:60:6] = 4, np.eye(10)[9] * 0.8 + 0.02
    assert not validate(mail, test, probs).quarantined


def test_of_equal_crops_one_stays(mail, test, probs):
    mail.images[9], mail.labels[9] = mail.images[5], mail.labels[5]
    probs[9] = probs[5]
    report = validate(mail, test, probs)
    assert (report.keep[5], report.keep[9]) == (True, False)
    assert "exact duplicates" in {one.check for one in report.findings}


def test_near_duplicates_are_told_and_kept(mail, test, probs):
    mail.images[9] = mail.images[5] // 2
    mail.labels[9], probs[9] = mail.labels[5], probs[5]
    report = validate(mail, test, probs)
    assert report.keep[[5, 9]].all()
    assert ("near duplicates", (9,)) in {(one.check, one.rows) for one in report.findings}


def test_crops_that_look_alike_and_disagree_are_left_out(mail, test, probs):
    mail.images[9], mail.labels[9] = mail.images[5], (mail.labels[5] + 1) % 10
    assert not validate(mail, test, probs).keep[[5, 9]].any()


def test_a_training_crop_that_looks_like_a_test_crop_is_left_out(mail, test, probs):
    mail.images[9] = test.images[2] // 2
    report = validate(mail, test, probs)
    assert not report.keep[9]
    assert ("leakage", (9,)) in {(one.check, one.rows) for one in report.findings}


def test_a_label_against_a_certain_champion_waits_for_a_second_person(mail, test, probs):
    probs[5] = np.eye(10)[(mail.labels[5] + 1) % 10]
    report = validate(mail, test, probs)
    assert not report.keep[5]
    assert report.likely_wrong[0] == 5
    names = mail.whos.astype("<U20")
    names[5] = "p0 + p3"
    assert validate(replace(mail, whos=names), test, probs).keep[5]


def test_a_site_with_too_much_weight_is_lowered_to_its_share(mail, test, probs):
    mail.weights[mail.sites == "bonn-1"] = 9.0
    report = validate(mail, test, probs)
    trained = report.accepted(mail)
    share = trained.weights[trained.sites == "bonn-1"].sum() / trained.weights.sum()
    assert share == pytest.approx(0.6, abs=0.01)
    assert "site bonn-1 has 9" in " ".join(one.text for one in report.findings)


def test_one_person_alone_is_not_limited(mail, test, probs):
    alone = replace(mail, whos=np.full(NUM, "p0"), sites=np.full(NUM, "bonn-1"))
    np.testing.assert_array_equal(validate(alone, test, probs).weights, alone.weights)


def test_a_changed_mix_and_a_new_site_are_told(mail, test, probs):
    parent = mail.take(mail.labels < 5)
    parent.sites[:] = "bonn-1"
    texts = {one.text for one in validate(mail, test, probs, parent=parent).findings}
    assert any("have other digits than before" in text for text in texts)
    assert "site koeln-1 is new" in texts


def test_each_person_has_a_row_the_worst_first(mail, test, probs):
    mail.labels[:60:3] = (mail.labels[:60:3] + 1) % 10
    people = validate(mail, test, probs).people
    assert people[0].name == "p0"
    assert people[0].quality < people[1].quality
    assert sum(one.num for one in people) == NUM


def test_probabilities_of_other_crops_are_refused(mail, test, probs):
    with pytest.raises(ValueError, match=r"\(239, 10\)"):
        validate(mail, test, probs[1:])


def test_no_crops_give_an_empty_report(mail, test):
    none = mail.take(np.zeros(NUM, bool))
    report = validate(none, none, np.empty((0, 10)))
    assert report.verdict == "train on 0 of 0 crops"


@pytest.mark.parametrize("num", [0, 1, 2, 30])
def test_a_few_labels_of_one_digit_are_validated_too(mail, test, num):
    """What is left of a first month after a quarantine, for example."""
    rows = np.flatnonzero(mail.labels == 3)[:num]
    probs = np.full((len(rows), 10), 0.01)
    probs[:, 3] = 0.91
    report = validate(mail.take(rows), test, probs)
    assert not report.is_refused
    assert len(report.likely_wrong) == 0


def test_a_month_without_a_test_share_is_validated(rng):
    """So few labels may all fall into the training share."""
    train, test = mail_of(rng, 5), mail_of(rng, 0)
    report = validate(train, test, champion_of(rng, train.labels))
    assert "leakage" not in {one.check for one in report.findings}
