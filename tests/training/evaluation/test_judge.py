import numpy as np
import pytest
from tiny import draw_digits

from model.classifier import Scores
from training.data.datasets import Mnist
from training.data.render import CHUNK
from training.evaluation import judge, suites, thresholds


@pytest.fixture(scope="module")
def small_suites():
    mnist = Mnist(
        train=draw_digits(10, 1),
        validation=draw_digits(300, 2),
        holdout=draw_digits(320, 7),
        test=draw_digits(120, 3),
        checksums={},
    )
    with pytest.MonkeyPatch.context() as patch:
        for name in ("NUM_ORDINARY", "NUM_OTHER", "NUM_GARBAGE"):
            patch.setattr(suites, name, 10)
        return suites.build_suites(
            mnist,
            glyphs=draw_digits(20, 4),
            letters=draw_digits(5, 5).images,
            others={"uci": draw_digits(30, 6)},
        )


class Oracle:
    """Reads every digit right, with a chosen certainty, and knows garbage by its blackness."""

    def __init__(self, known, *, certainty=20.0):
        self._known = {image.tobytes(): label for part in known for image, label in part}
        self._certainty = certainty

    def __call__(self, batch):
        logits = np.zeros((len(batch), 10), np.float32)
        garbage = np.full(len(batch), 5.0, np.float32)
        for row, image in enumerate(batch):
            label = self._known.get(image.tobytes())
            if label is not None:
                logits[row, label] = self._certainty
                garbage[row] = -5.0
        return Scores(logits, garbage)


@pytest.fixture(scope="module")
def oracle(small_suites):
    parts = [
        small_suites.policy.validation,
        small_suites.policy.holdout,
        *small_suites.tests.values(),
    ]
    return Oracle([zip(part.batch, part.labels, strict=True) for part in parts])


def test_every_set_is_there_and_framed(small_suites):
    assert set(small_suites.tests) == {
        "mnist",
        "mnist_reframed",
        "rendered",
        "held_out_fonts",
        "uci",
    }
    assert len(small_suites.corruptions) == 12 * 5
    assert len(small_suites.policy.validation) == 5 * 300
    assert small_suites.policy.validation_is_clean.sum() == 300
    for part in small_suites.tests.values():
        assert part.batch.shape[1:] == (1, 28, 28)
        assert part.batch.min() >= 0
        assert part.batch.max() <= 1


def test_each_holdout_digit_is_there_once_and_a_third_of_them_as_they_are(small_suites):
    assert len(small_suites.policy.holdout) == 320
    known = {image.tobytes() for image in suites._raw(draw_digits(320, 7)).batch}
    as_they_are = [image.tobytes() in known for image in small_suites.policy.holdout.batch]
    assert sum(as_they_are) == pytest.approx(320 / 3, abs=2)


def test_the_same_data_gives_the_same_suites():
    digits = draw_digits(CHUNK + 5, 3)
    first, second = (suites.plain_crops(digits, 1)[0] for _ in range(2))
    np.testing.assert_array_equal(first[-1], second[-1])


def test_a_policy_needs_a_threshold_for_the_default_target(small_suites):
    never_sure = Oracle([])
    with pytest.raises(ValueError, match="not fit for use"):
        judge.fit_policy(never_sure, small_suites.policy)


def test_a_perfect_reader_scores_one(oracle, small_suites, monkeypatch):
    monkeypatch.setattr(thresholds, "DEFAULT_ERROR_TARGET", 0.01)
    policy, _ = judge.fit_policy(oracle, small_suites.policy)
    result = judge.judge_set(oracle, small_suites.tests["mnist"], policy, champion=oracle)
    assert result.accuracy == 1.0
    assert result.accepted_frac == 1.0
    assert result.accepted_error_frac == 0.0
    assert result.accepted_error_interval[1] == pytest.approx(0.03, abs=0.01)  # 0 of 120
    assert result.euros_per_million == 0.0
    assert result.champion_accuracy == 1.0
    assert result.mcnemar_p == 1.0


def test_garbage_is_evaluated_by_kind(oracle, small_suites, monkeypatch):
    monkeypatch.setattr(thresholds, "DEFAULT_ERROR_TARGET", 0.01)
    policy, _ = judge.fit_policy(oracle, small_suites.policy)
    result = judge.judge_garbage(oracle, small_suites, policy)
    assert result is not None
    assert result.auroc == 1.0
    assert result.fpr_at_95_tpr == 0.0
    assert set(result.refused_frac.values()) == {1.0}


def test_a_network_without_a_garbage_head_has_no_garbage_result(oracle, small_suites, monkeypatch):
    monkeypatch.setattr(thresholds, "DEFAULT_ERROR_TARGET", 0.01)

    def blind(batch):
        scores = oracle(batch)
        return Scores(scores.logits, np.full(len(batch), -np.inf, np.float32))

    policy, _ = judge.fit_policy(blind, small_suites.policy)
    assert policy.garbage_threshold == 0.0
    assert judge.judge_garbage(blind, small_suites, policy) is None


def test_the_garbage_threshold_refuses_four_of_a_hundred_clean_digits(
    oracle, small_suites, monkeypatch
):
    monkeypatch.setattr(thresholds, "DEFAULT_ERROR_TARGET", 0.01)

    def garbage_of(batch):
        rows = np.arange(batch[0].size, dtype=np.float32)
        return batch.reshape(len(batch), -1) @ rows  # hardly two digits have the same

    def graded(batch):
        return Scores(oracle(batch).logits, garbage_of(batch))

    policy, _ = judge.fit_policy(graded, small_suites.policy)
    clean = small_suites.policy.validation.batch[small_suites.policy.validation_is_clean]
    assert (garbage_of(clean) > policy.garbage_threshold).mean() == pytest.approx(0.04, abs=0.01)
