import numpy as np
import pytest
from scipy.stats import binomtest

from training.evaluation import thresholds

ALL_TARGETS = thresholds.ERROR_TARGETS


def choose(sure, right, passed=None, **options):
    passed = np.ones(len(sure), np.bool_) if passed is None else passed
    return thresholds.choose_thresholds(sure, right, passed, **options)


def reads(num, error_at, rng):
    """Independent reads whose chance of being wrong is a known function of the confidence."""
    sure = rng.random(num)
    return sure, rng.random(num) >= error_at(sure)


@pytest.mark.parametrize(("num_wrong", "num"), [(0, 2995), (2, 6300), (3, 9000), (9, 10)])
def test_the_bound_is_scipys_one_sided_interval(num_wrong, num):
    expected = binomtest(num_wrong, num, alternative="less").proportion_ci(0.95, method="exact")
    assert thresholds.upper_bound(num_wrong, num, 0.95) == pytest.approx(expected.high)


@pytest.mark.parametrize(("num_wrong", "num"), [(0, 100), (3, 9000), (10, 10)])
def test_the_interval_is_scipys(num_wrong, num):
    expected = binomtest(num_wrong, num).proportion_ci(method="exact")
    assert thresholds.interval(num_wrong, num) == pytest.approx((expected.low, expected.high))


def test_nothing_counted_tells_nothing():
    assert thresholds.interval(0, 0) == (0.0, 1.0)
    assert thresholds.upper_bound(0, 0, 0.95) == 1.0


def test_2302_reads_without_an_error_show_one_in_a_thousand():
    assert 0.001 in [row.error_target for row in choose(*perfect(2302))]
    assert 0.001 not in [row.error_target for row in choose(*perfect(2301))]
    expected = binomtest(0, 2302, alternative="less").proportion_ci(0.9, method="exact")
    assert thresholds.CONFIDENCE == 0.9
    assert expected.high <= 0.001


def perfect(num):
    return np.linspace(0, 1, num), np.ones(num, np.bool_)


def test_each_target_of_perfect_reads_is_shown_and_accepts_them_all():
    found = choose(np.linspace(0, 1, 10_000), np.ones(10_000, np.bool_))
    assert [row.error_target for row in found] == list(ALL_TARGETS)
    for row in found:
        assert (row.num_accepted, row.num_wrong, row.num) == (10_000, 0, 10_000)
        assert row.error_bound <= row.error_target
        assert row.confidence == thresholds.CONFIDENCE


@pytest.mark.parametrize("target", ALL_TARGETS)
def test_the_bound_of_a_chosen_threshold_is_below_its_target(target):
    sure, right = reads(10_000, lambda sure: 0.02 * (1 - sure) ** 3, np.random.default_rng(1))
    for row in choose(sure, right, targets=(target,)):
        accepted = sure >= row.threshold
        assert accepted.sum() == row.num_accepted
        assert (~right[accepted]).sum() == row.num_wrong
        assert row.error_bound <= target


def rising(sure, target):
    """1.2 times the target where all reads are accepted, less where fewer are."""
    return 6 * target * (1 - sure) ** 4


def flat(sure, target):
    """Just above the target, whatever is accepted: each threshold that is found misses it."""
    return np.full_like(sure, 1.001 * target)


@pytest.mark.parametrize(("error_at", "least_found"), [(rising, 0.5), (flat, 0.0)])
@pytest.mark.parametrize("target", [0.001, 0.01])
def test_the_true_error_misses_the_target_in_at_most_one_draw_of_ten(target, error_at, least_found):
    rng = np.random.default_rng(20261126)
    grid = np.linspace(0, 1, 100_001)
    tail = np.cumsum(error_at(grid, target)[::-1])[::-1] / np.arange(len(grid), 0, -1)
    num_draws, num_missed, num_found = 600, 0, 0
    for _ in range(num_draws):
        sure, right = reads(10_000, lambda sure: error_at(sure, target), rng)
        for row in choose(sure, right, targets=(target,)):
            num_found += 1
            num_missed += np.interp(row.threshold, grid, tail) > target
    assert num_found >= least_found * num_draws
    allowed = 1 - thresholds.CONFIDENCE
    assert binomtest(num_missed, num_draws, allowed, alternative="greater").pvalue > 0.01


def test_a_target_that_these_reads_cannot_show_has_no_threshold():
    rng = np.random.default_rng(0)
    assert choose(rng.random(1000), rng.random(1000) < 0.5) == ()


def test_reads_of_equal_confidence_are_accepted_together():
    sure = np.full(5000, 0.9)
    right = np.ones(5000, bool)
    right[-100:] = False
    assert choose(sure, right) == ()


def test_crops_that_the_garbage_head_refuses_are_never_accepted():
    sure, passed = np.linspace(0, 1, 10_000), np.arange(10_000) % 10 != 0
    (row,) = choose(sure, passed, passed, targets=(0.001,))
    assert (row.num_accepted, row.num_wrong) == (9_000, 0)
    assert row.accepted_frac == 0.9


@pytest.mark.parametrize(("num", "has_own"), [(2_999, False), (3_000, True)])
def test_a_site_has_its_own_threshold_from_3000_audited_labels_on(num, has_own):
    sure, right = np.linspace(0.9, 1, num), np.ones(num, np.bool_)
    own = thresholds.site_threshold(sure, right, error_target=0.001)
    assert (own is not None) is has_own


def test_a_site_whose_labels_show_the_target_nowhere_keeps_the_models_threshold():
    sure = np.linspace(0.9, 1, 5_000)
    right = np.arange(5_000) % 100 != 0
    assert thresholds.site_threshold(sure, right, error_target=0.001) is None


def test_a_threshold_that_was_fixed_before_needs_one_test():
    confidence, passed = np.linspace(0.9, 1, 4000), np.ones(4000, bool)
    right = np.ones(4000, bool)
    assert thresholds.holds(0.9, confidence, right, passed)
    assert not thresholds.holds(0.9, confidence[:2000], right[:2000], passed[:2000])
    right[-4:] = False
    assert not thresholds.holds(0.9, confidence, right, passed)


def test_an_offices_threshold_leaves_stricter_targets_stricter():
    rows = [
        thresholds.Threshold(target, value, 0.9, 0.9, 1000, 900, 0)
        for target, value in ((0.0005, 0.99), (0.001, 0.98), (0.002, 0.97), (0.01, 0.8))
    ]
    looser = [row.threshold for row in thresholds.with_default(rows, 0.95)]
    assert looser == [0.99, 0.95, 0.95, 0.8]
