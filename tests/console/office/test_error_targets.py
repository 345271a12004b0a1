"""What a target would do with an office's mail, against mail whose truth is known."""

import json
import math

import made_mail
import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from capture.erasure import erase_from_archive
from capture.store import open_store
from console.office.error_targets import Plant, Target, figures, labels_needed
from console.office.mail_days import COLUMNS, MailReader
from contract.costs import DEFAULT
from model.artifact import CHAMPION

TODAY = made_mail.FIRST.date()
TABLE = [Target(0.0005, 0.999), Target(0.001, 0.995), Target(0.01, 0.8)]
IN_FORCE, GARBAGE = 0.995, -3.0
PLANT = Plant(reads_a_day=1_000.0, audit_frac=0.02)


def stored(tmp_path, frame, rng, *, rejects=1.0):
    """The reads of a made day, as the page reads them from an archive."""
    store = open_store(str(tmp_path))
    frame = made_mail.store_day(store, frame, 0, rng)
    made_mail.key_by_people(store, frame, rejects=rejects, rng=rng)
    return MailReader().read(store, 7, TODAY), frame


def made(rng, num=4_000, **options):
    return made_mail.draw(num, rng, **{"threshold": IN_FORCE, "audit_frac": 0.3} | options)


def accepted_truth(frame, target):
    """Which reads a target accepts, and their share of wrong, by the truth that nobody keyed."""
    is_accepted = (frame["confidence"] >= np.float32(target.threshold)) & (
        frame["garbage"] <= np.float32(GARBAGE)
    )
    return is_accepted.mean(), (frame["truth"] != frame["digit"])[is_accepted].mean()


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    rng = np.random.default_rng(3)
    return stored(tmp_path_factory.mktemp("office"), made(rng, num_sites=3), rng)


@pytest.mark.parametrize("place", range(3))
def test_coverage_is_the_share_that_the_targets_threshold_accepts(office, place):
    mail, frame = office
    found = figures(mail.reads, TABLE, GARBAGE, PLANT)[place]
    assert found.coverage == pytest.approx(accepted_truth(frame, TABLE[place])[0])


def test_a_day_costs_its_keys_and_its_misroutes(office):
    mail, _ = office
    found = figures(mail.reads, TABLE, GARBAGE, PLANT)[2]
    accepted = 1_000 * found.coverage
    keys = 1_000 - accepted + 0.02 * accepted
    assert found.keys_a_day == pytest.approx(keys)
    assert found.misroutes_a_day.value == pytest.approx(accepted * found.error.value)
    euros = keys * 3.0 / 3600 * 33.5 + accepted * found.error.high
    assert found.euros_a_day.high == pytest.approx(euros)
    per_million = DEFAULT.euros_per_million(keys / 1_000, found.coverage * found.error.value)
    assert found.euros_a_day.value == pytest.approx(per_million / 1_000)


def draws(num_draws):
    """Offices with one population each: estimates beside the share that is wrong in truth."""
    # The truth: draw() makes confidences that are right, so the share of wrong among accepted is
    # the mean of 1 - confidence. It is measured on a large draw, not by the code under test.
    rng = np.random.default_rng(11)
    large = made(rng, num=2_000_000)
    truths = [accepted_truth(large, one)[1] for one in TABLE]
    for _ in range(num_draws):
        frame = made(rng)
        frame["label"] = np.where(
            (frame["audit_probability"] > 0)
            | (~frame["accepted"] & (rng.random(len(frame)) < 0.8)),
            frame["truth"],
            -1,
        )
        yield truths, figures(as_reads(frame), TABLE, GARBAGE, PLANT)


def as_reads(frame):
    """Reads as `mail_days` gives them, without an archive."""
    reads = np.zeros(len(frame), COLUMNS)
    for name in ("digit", "confidence", "garbage", "accepted", "audit_probability", "label"):
        reads[name] = frame[name]
    reads["is_audit"] = frame["audit_probability"] > 0
    reads["key"] = np.arange(len(frame))
    return reads


@pytest.fixture(scope="module")
def repeated():
    return list(draws(300))


@pytest.mark.parametrize("place", range(3))
def test_the_estimate_of_wrong_among_accepted_is_unbiased(repeated, place):
    truth = repeated[0][0][place]
    mean = np.mean([found[place].error.value for _, found in repeated])
    assert mean == pytest.approx(truth, rel=0.12)


@pytest.mark.parametrize("place", range(3))
def test_nineteen_of_twenty_intervals_hold_the_truth(repeated, place):
    held = [
        found[place].error.low <= truths[place] <= found[place].error.high
        for truths, found in repeated
    ]
    assert np.mean(held) >= 0.94


def test_rejects_that_are_keyed_in_part_count_for_all_of_their_band(tmp_path):
    rng = np.random.default_rng(5)
    mail, frame = stored(tmp_path, made(rng, num=40_000), rng, rejects=0.5)
    found = figures(mail.reads, TABLE, GARBAGE, PLANT)[2]
    assert found.error.value == pytest.approx(accepted_truth(frame, TABLE[2])[1], rel=0.2)


def test_without_a_keyed_reject_a_looser_target_is_not_known(tmp_path):
    rng = np.random.default_rng(5)
    mail, _ = stored(tmp_path, made(rng), rng, rejects=0.0)
    strict, in_force, loose = figures(mail.reads, TABLE, GARBAGE, PLANT)
    assert not math.isnan(strict.error.value)
    assert not math.isnan(in_force.error.value)
    assert math.isnan(loose.error.value)
    assert loose.num_not_keyed > 0


def test_a_read_of_a_site_on_hold_is_keyed_at_every_target(tmp_path):
    rng = np.random.default_rng(5)
    frame = made(rng)
    frame["accepted"], frame["rejected_because"] = False, "site_on_hold"
    frame["audit_probability"] = np.float32(0)
    mail, _ = stored(tmp_path, frame, rng)
    assert [one.coverage for one in figures(mail.reads, TABLE, GARBAGE, PLANT)] == [0, 0, 0]


def test_a_crop_that_keyers_cannot_read_is_not_judged(office):
    mail, _ = office
    reads = mail.reads.copy()
    reads["label"][reads["label"] >= 0] = 11
    assert [one.num_judged for one in figures(reads, TABLE, GARBAGE, PLANT)] == [0, 0, 0]


def test_an_accepted_crop_that_is_no_digit_is_wrong(office):
    mail, _ = office
    reads = mail.reads.copy()
    reads["label"][reads["label"] >= 0] = 10
    assert figures(reads, TABLE, GARBAGE, PLANT)[1].error.value == 1


def test_a_crop_that_was_shipped_twice_counts_once(tmp_path):
    rng = np.random.default_rng(5)
    store = open_store(str(tmp_path))
    frame = made_mail.store_day(store, made(rng, num=100), 0, rng)
    key = store.find("records/")[0]
    store.put(key.replace("-1.parquet", "-2.parquet"), store.get(key), content_type="x")
    assert len(MailReader().read(store, 7, TODAY).reads) == len(frame)


def test_an_erased_read_is_gone_at_once(tmp_path):
    rng = np.random.default_rng(5)
    store, reader = open_store(str(tmp_path)), MailReader()
    frame = made_mail.store_day(store, made(rng, num=100), 0, rng)
    assert len(reader.read(store, 7, TODAY).reads) == 100
    erase_from_archive(store, frame["read_id"][0])
    assert len(reader.read(store, 7, TODAY).reads) == 99


def test_a_label_that_came_since_the_last_visit_counts(tmp_path):
    rng = np.random.default_rng(5)
    store, reader = open_store(str(tmp_path)), MailReader()
    frame = made_mail.store_day(store, made(rng, num=500), 0, rng)
    assert figures(reader.read(store, 7, TODAY).reads, TABLE, GARBAGE, PLANT)[1].num_judged == 0
    made_mail.key_by_people(store, frame)
    judged = figures(reader.read(store, 7, TODAY).reads, TABLE, GARBAGE, PLANT)[1].num_judged
    assert judged == (frame["audit_probability"] > 0).sum()


def test_the_labels_needed_agree_with_a_search_in_statsmodels():
    def width(num, share=0.01):
        low, high = proportion_confint(share * num, num, method="beta")
        return high - low

    num = labels_needed(0.01, 0.01)
    assert width(num) <= 0.01 < width(num - 1)


def test_no_reads_have_no_figures_and_no_error(office):
    mail, _ = office
    found = figures(mail.reads[:0], TABLE, GARBAGE, PLANT)
    assert [one.num_judged for one in found] == [0, 0, 0]


def test_the_champions_table_is_in_the_order_that_the_figures_need():
    rows = json.loads((CHAMPION / "manifest.json").read_text())["thresholds"]
    table = pd.DataFrame(rows).sort_values("error_target")
    assert table["threshold"].is_monotonic_decreasing
