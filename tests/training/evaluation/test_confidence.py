import numpy as np
import pytest

from training.evaluation import confidence


def a_reader(num=20_000, temperature=2.0, seed=0):
    """Logits whose softmax at `temperature` is the true chance of being right."""
    rng = np.random.default_rng(seed)
    logits = (rng.normal(0, 1, (num, 10)) * 4).astype(np.float32)
    probs = confidence.softmax(logits, temperature)
    labels = (probs.cumsum(1) > rng.random((num, 1))).argmax(1).astype(np.uint8)
    return logits, labels


def test_the_temperature_that_made_the_labels_is_found():
    logits, labels = a_reader(temperature=2.0)
    assert confidence.fit_temperature(logits, labels) == pytest.approx(2.0, rel=0.05)


def test_the_fitted_temperature_makes_confidence_match_accuracy():
    logits, labels = a_reader(temperature=2.0)
    right = logits.argmax(1) == labels
    raw, fitted = (
        confidence.reliability(confidence.softmax(logits, temperature).max(1), right).ece
        for temperature in (1.0, 2.0)
    )
    assert fitted < 0.015 < raw


def test_risk_at_full_coverage_is_the_error_rate():
    right = np.array([True, False, True, True])
    curve = confidence.risk_coverage(np.array([0.9, 0.6, 0.8, 0.7]), right)
    np.testing.assert_allclose(curve.risk, [0, 0, 0, 0.25])
    assert confidence.coverage_at(curve, 0.1) == 0.75


def test_auroc_counts_pairs():
    garbage, digits = np.array([3.0, 1.0]), np.array([0.0, 2.0])
    assert confidence.auroc(garbage, digits) == 0.75
    assert confidence.auroc(np.ones(3), np.ones(4)) == 0.5


def test_false_positives_are_counted_where_95_percent_of_digits_pass():
    digits = np.arange(100.0)
    garbage = np.array([50.0, 94.0, 96.0, 99.0])
    rate = confidence.false_positive_rate(garbage, digits, true_positive_rate=0.95)
    assert rate == 0.5


def test_mcnemar_looks_only_at_disagreements():
    first = np.array([True] * 90 + [False] * 10)
    assert confidence.mcnemar(first, first) == 1.0
    assert confidence.mcnemar(first, ~first) < 1e-9
    one_apart = first.copy()
    one_apart[0] = False
    assert confidence.mcnemar(first, one_apart) == 1.0


def test_the_interval_holds_the_share():
    share = confidence.Proportion(num=10_000, num_right=9_970)
    low, high = share.interval
    assert 0.995 < low < share.value < high < 0.999
