"""Wrong among accepted from the audit: unbiased, with an interval that covers, site by site."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import DescrStatsW

from monitoring.audits import effective_size, estimate, interval


def marks(wrong, probability, site="leeds", *, is_judged=None):
    """Marked crops; those that are wrong were read as 9 instead of 4."""
    wrong = np.asarray(wrong, bool)
    judged = np.ones(len(wrong), bool) if is_judged is None else np.asarray(is_judged, bool)
    return pd.DataFrame(
        {
            "site": site,
            "digit": np.where(wrong, "9", "4"),
            "label": np.where(judged, "4", None),
            "is_audit": judged,
            "audit_probability": np.broadcast_to(probability, len(wrong)),
        }
    )


@pytest.mark.parametrize(("num_wrong", "num"), [(0, 300), (2, 1_640), (30, 30)])
def test_with_equal_weights_the_interval_is_that_of_statsmodels(num_wrong, num):
    total, _ = estimate(marks(np.arange(num) < num_wrong, 0.01))
    low, high = proportion_confint(num_wrong, num, method="beta")
    assert total.error == pytest.approx(num_wrong / num)
    assert (total.low, total.high) == pytest.approx((low, high))


def test_with_unequal_weights_the_estimate_is_the_weighted_mean_of_statsmodels():
    rng = np.random.default_rng(1)
    wrong, probability = rng.random(500) < 0.1, rng.uniform(0.01, 0.2, 500)
    total, _ = estimate(marks(wrong, probability))
    assert total.error == pytest.approx(DescrStatsW(wrong, 1 / probability).mean)


def draws(num_draws, num=4_000):
    """Audits of one population, whose error is higher where fewer crops are marked."""
    rng = np.random.default_rng(7)
    is_rare = np.arange(num) < num // 2
    wrong = rng.random(num) < np.where(is_rare, 0.08, 0.01)
    probability = np.where(is_rare, 0.05, 0.4)
    for _ in range(num_draws):
        drawn = rng.random(num) < probability
        yield wrong.mean(), wrong[drawn], probability[drawn]


def test_the_estimate_is_unbiased_where_the_plain_share_of_wrong_is_not():
    found = [
        (truth, wrong.mean(), estimate(marks(wrong, p))[0].error) for truth, wrong, p in draws(400)
    ]
    truth, plain, weighted = np.mean(found, axis=0)
    assert plain < 0.5 * truth
    assert weighted == pytest.approx(truth, rel=0.05)


def test_nineteen_of_twenty_intervals_cover_the_truth():
    covered = [
        total.low <= truth <= total.high
        for truth, wrong, p in draws(400)
        for total in estimate(marks(wrong, p))[:1]
    ]
    assert np.mean(covered) >= 0.94


def test_a_site_whose_marks_are_keyed_less_counts_with_all_its_marks():
    keyed = np.arange(1_000) < 100
    busy = marks(np.arange(1_000) < 10, 0.01, "busy", is_judged=keyed)  # 10 of 100 judged
    calm = marks(np.zeros(1_000), 0.01, "calm")
    total, of_busy, of_calm = estimate(pd.concat([busy, calm], ignore_index=True))
    assert (of_busy.error, of_calm.error) == (0.1, 0.0)
    assert total.error == pytest.approx(0.05)
    assert (total.num_marked, total.num_judged, total.num_wrong) == (2_000, 1_100, 10)


def test_a_label_that_is_no_audit_takes_no_part():
    rows = marks(np.ones(50), 0.01)
    rows["is_audit"] = False
    total, _ = estimate(rows)
    assert total.num_judged == 0
    assert np.isnan(total.error)


def test_an_accepted_crop_that_is_no_digit_is_wrong():
    rows = marks(np.zeros(10), 0.01)
    rows.loc[0, "label"] = "not_a_digit"
    assert estimate(rows)[0].num_wrong == 1


def test_nothing_marked_has_no_estimate():
    assert estimate(marks([], 0.01)) == []


@pytest.mark.parametrize(("weights", "size"), [([3.0] * 40, 40), ([1.0, 3.0], 1.6)])
def test_without_a_wrong_crop_the_size_is_that_of_kish(weights, size):
    assert effective_size(np.zeros(len(weights), bool), np.array(weights)) == pytest.approx(size)
    assert interval(0.0, size)[0] == 0.0
