import numpy as np
import pytest
from numpy.testing import assert_allclose

from model.classifier import Scores
from model.decision import BLANK, Policy, decide, softmax

POLICY = Policy(temperature=1.0, threshold=0.9, garbage_threshold=0.0)


def scores_of(probs, garbage=-1.0):
    logits = np.log(np.asarray([probs], dtype=np.float32))
    return Scores(logits, np.array([garbage], dtype=np.float32))


def probs_with_top(digit, top):
    probs = np.full(10, (1 - top) / 9)
    probs[digit] = top
    return probs


def test_the_digit_is_the_likeliest_and_the_confidence_its_probability():
    decision = decide(scores_of(probs_with_top(7, 0.95)), POLICY)[0]
    assert decision.digit == 7
    assert decision.confidence == pytest.approx(0.95, abs=1e-6)


def test_a_sure_digit_is_accepted():
    decision = decide(scores_of(probs_with_top(7, 0.95)), POLICY)[0]
    assert decision.accepted
    assert decision.rejected_because is None


def test_an_unsure_digit_is_rejected_and_still_returned():
    decision = decide(scores_of(probs_with_top(7, 0.8)), POLICY)[0]
    assert decision.rejected_because == "low_confidence"
    assert decision.digit == 7
    assert not decision.accepted


def test_confidence_exactly_at_the_threshold_is_accepted():
    logits = np.zeros((1, 10), dtype=np.float32)
    at = Policy(temperature=1.0, threshold=float(softmax(logits, 1.0)[0, 0]), garbage_threshold=0)
    assert decide(Scores(logits, np.zeros(1, np.float32)), at)[0].accepted


def test_garbage_above_its_threshold_is_rejected_at_any_confidence():
    decision = decide(scores_of(probs_with_top(7, 0.999), garbage=0.1), POLICY)[0]
    assert decision.rejected_because == "not_a_digit"


def test_garbage_at_its_threshold_is_accepted():
    assert decide(scores_of(probs_with_top(7, 0.999), garbage=0.0), POLICY)[0].accepted


def test_a_model_without_garbage_output_rejects_no_garbage():
    assert decide(scores_of(probs_with_top(7, 0.999), garbage=-np.inf), POLICY)[0].accepted


def test_the_ranking_falls_in_probability():
    probs = np.array([0.01, 0.02, 0.03, 0.04, 0.5, 0.2, 0.1, 0.05, 0.03, 0.02])
    decision = decide(scores_of(probs), POLICY)[0]
    assert list(decision.ranking[:4]) == [4, 5, 6, 7]
    assert sorted(decision.ranking) == list(range(10))


def test_equal_probabilities_rank_by_digit():
    decision = decide(scores_of(np.full(10, 0.1)), POLICY)[0]
    assert list(decision.ranking) == list(range(10))


def test_decisions_come_in_the_order_of_the_batch():
    logits = np.eye(10, dtype=np.float32)[[3, 1, 4, 1, 5]] * 20
    decisions = decide(Scores(logits, np.zeros(5, np.float32)), POLICY)
    assert [one.digit for one in decisions] == [3, 1, 4, 1, 5]


@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0])
def test_probabilities_sum_to_1(temperature):
    logits = np.random.default_rng(3).normal(0, 30, (50, 10)).astype(np.float32)
    assert_allclose(softmax(logits, temperature).sum(axis=1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e4, 1e37])
def test_softmax_survives_logits_of_any_size(scale):
    probs = softmax(np.array([[scale, -scale, *[0.0] * 8]], dtype=np.float32), 0.05)
    assert np.isfinite(probs).all()
    assert probs[0, 0] >= probs[0, 1]


def test_a_higher_temperature_is_less_sure_and_keeps_the_order():
    logits = np.arange(10, dtype=np.float32)[np.newaxis]
    cold, warm = softmax(logits, 0.5)[0], softmax(logits, 2.0)[0]
    assert warm.max() < cold.max()
    assert np.array_equal(np.argsort(cold), np.argsort(warm))


def test_softmax_equals_the_textbook():
    logits = np.random.default_rng(5).normal(0, 3, (20, 10)).astype(np.float32)
    wide = logits.astype(np.float64)
    for row, one in zip(softmax(logits, 1.7), wide, strict=True):
        assert_allclose(row, [np.exp(x / 1.7) / np.exp(one / 1.7).sum() for x in one], rtol=1e-12)


def test_a_blank_has_no_digit_and_no_candidates():
    assert BLANK.digit is None
    assert not BLANK.accepted
    assert not BLANK.ranking


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_an_impossible_temperature_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature"):
        Policy(temperature=temperature, threshold=0.5, garbage_threshold=0.0)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_an_impossible_threshold_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold"):
        Policy(temperature=1.0, threshold=threshold, garbage_threshold=0.0)


def test_a_garbage_threshold_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="garbage_threshold"):
        Policy(temperature=1.0, threshold=0.5, garbage_threshold=float("nan"))
