"""The simulated year, small: drawn digits, a tiny network, three months."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from tiny import TinyNetwork, draw_digits

from model.decision import Policy
from training import adapting
from training.adapting import AdaptConfig, Replay
from training.data.render import DAMAGED
from training.evaluation import judge, suites, thresholds
from training.studies import year_arms, year_chart, year_keying, year_mail, year_run
from training.studies.label_checks import keep
from training.studies.year_arms import Bench, Labels
from training.studies.year_mail import LabelledCrops
from training.studies.year_run import CHECKED, NEVER, UNCHECKED

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
CONFIG = AdaptConfig(num_steps=15, num_mail=12, num_raw=6, num_rendered=6, num_threads=1)


@pytest.fixture(scope="module")
def bench():
    digits = draw_digits(200, seed=1)
    torch.manual_seed(1)
    mail = adapting.Mail(
        digits.images, digits.labels, np.full(200, "bonn"), np.arange(200).astype(str)
    )
    replay = Replay(digits, digits)
    fit = AdaptConfig(
        num_steps=60, num_mail=24, num_raw=4, num_rendered=4, peak_lr=1e-2, num_threads=1
    )
    network = adapting.go_on(TinyNetwork(), mail, replay, fit)
    batch = suites.LabelledBatch(digits.images[:, None] / np.float32(255), digits.labels)
    damaged = draw_digits(20, seed=8)
    return Bench(
        network=network,
        policy=Policy(temperature=1.0, threshold=0.6, garbage_threshold=0.0),
        replay=replay,
        policy_sets=suites.PolicySets(batch, np.ones(200, np.bool_), batch),
        damaged=type(damaged)(damaged.images, damaged.labels + DAMAGED),
        champion_harm=1.0,
        guarded={"drawn": draw_digits(50, seed=4)},
        config=CONFIG,
    )


@pytest.fixture(scope="module")
def mail():
    digits = draw_digits(240, seed=6)
    return year_mail.plan(
        LabelledCrops(list(255 - digits.images), digits.labels), num_months=3, seed=2
    )


@pytest.fixture(scope="module")
def year(bench, mail):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thresholds, "DEFAULT_ERROR_TARGET", 0.98)
        patch.setattr(thresholds, "ERROR_TARGETS", (0.98, 0.99))
        patch.setattr(thresholds, "FIRST_ACCEPTED_FRAC", 0.02)
        patch.setattr(judge, "CLEAN_REFUSED_FRAC", 0.0)
        patch.setattr(year_run, "POISON_MONTH", 2)
        return year_run.run(mail, bench, keep, audit_frac=0.2, seed=3)


def test_every_arm_is_judged_in_every_month(year):
    assert {(one.arm, one.month) for one in year.results} == {
        (arm, month) for arm in (NEVER, UNCHECKED, CHECKED) for month in (1, 2, 3)
    }
    for one in year.results:
        assert one.num == 80
        assert one.num_wrong <= one.num_accepted <= one.num


def test_the_first_month_is_the_same_for_all(year):
    """It is judged before anything is retrained."""
    first = {(one.num_right, one.num_accepted) for one in year.results if one.month == 1}
    assert len(first) == 1


def test_the_arms_that_retrain_have_other_weights_at_the_end(year, bench):
    assert year.arms[NEVER].network is bench.network
    assert year.arms[UNCHECKED].network is not bench.network


def test_a_month_without_labels_retrains_nothing(bench, mail, monkeypatch):
    monkeypatch.setattr(year_run, "NO_LABELS_MONTH", 1)
    monkeypatch.setattr(year_run, "MIN_LABELS", 10_000)
    done = year_run.run(mail, bench, keep, audit_frac=0.2, seed=3, arms=(CHECKED,))
    assert done.results[0].note == "no retraining: 0 new labels"
    assert done.results[0].num_keys == done.results[0].num - done.results[0].num_accepted


def test_the_same_seed_gives_the_same_mail():
    digits = draw_digits(240, seed=6)
    crops = LabelledCrops(list(255 - digits.images), digits.labels)
    first, second = (year_mail.plan(crops, num_months=12, seed=4) for _ in range(2))
    assert_array_equal(first.sites, second.sites)
    for one, other in zip(first.mail.crops, second.mail.crops, strict=True):
        assert_array_equal(one, other)
    assert first.dirty.any()
    assert set(first.sites[first.dirty]) == {year_mail.DIRTY_SITE}
    before = first.sites[first.months < year_mail.NEW_SITE_MONTH]
    assert year_mail.NEW_SITE not in set(before)


def key(truth, answers, *, second_opinion):
    rows = np.arange(len(truth))
    rng = np.random.default_rng(1)
    return year_keying.key(
        rows, truth, answers, np.ones(len(truth)), rng, second_opinion=second_opinion
    )


def test_people_err_in_one_key_of_a_hundred():
    truth = np.full(20_000, 3, np.uint8)
    keyed = key(truth, np.full(20_000, 3), second_opinion=False)
    assert (keyed.labels != truth).mean() == pytest.approx(0.01, abs=0.002)
    assert keyed.num_keys == 20_000


def test_a_second_opinion_removes_nearly_all_slips_for_few_keys():
    truth = np.full(20_000, 3, np.uint8)
    keyed = key(truth, np.full(20_000, 3), second_opinion=True)
    assert (keyed.labels != truth[keyed.rows]).mean() < 0.0005
    assert keyed.num_keys < 20_000 * 1.03


def test_a_poisoned_batch_swaps_two_digits():
    truth = np.tile(np.arange(10, dtype=np.uint8), 50)
    batch = year_keying.poisoned_batch(np.arange(500), truth, np.random.default_rng(1))
    assert len(batch.rows) == year_keying.POISONED_KEYS
    assert set(zip(truth[batch.rows].tolist(), batch.labels.tolist(), strict=True)) == {
        (4, 9), (9, 4),
    }  # fmt: skip


def test_a_crop_once_in_the_test_share_stays_there():
    before = year_arms.in_test_share(np.arange(100))
    after = year_arms.in_test_share(np.arange(1000))
    assert_array_equal(before, after[:100])
    assert after.mean() == pytest.approx(year_arms.TEST_FRAC, abs=0.05)


def test_validation_leaves_out_the_poisoned_batch():
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 10, 400).astype(np.uint8)
    bad = np.isin(truth, year_keying.SWAPPED) & (np.arange(400) > 100)
    labels = np.where(bad, 13 - truth, truth).astype(np.uint8)
    probs = np.full((400, 10), 0.001)
    probs[np.arange(400), truth] = 0.991
    who = np.where(bad, year_keying.POISONER, "anna")
    images = rng.integers(0, 256, (400, 28, 28)).astype(np.uint8)
    given = Labels(np.arange(400), labels, who, np.ones(400))
    kept, said = keep(given, images, np.full(400, "bonn"), probs)
    is_train = ~year_arms.in_test_share(np.arange(400))
    assert year_keying.POISONER in said
    assert not kept[bad & is_train].any()
    assert kept[~bad].mean() > 0.95


def test_chart_and_table_are_drawn(year):
    pooled = [year_chart.pool(year.results, arm) for arm in (NEVER, UNCHECKED, CHECKED)]
    assert year_chart.draw(year.results).startswith(b"\x89PNG")
    table = year_chart.to_markdown(pooled, 1)
    assert table.count("\n| ") == 4
    assert f"of {pooled[0].num_accepted:,}" in table
