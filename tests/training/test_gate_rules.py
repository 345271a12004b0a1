from dataclasses import replace

import pytest

from training.evaluation.confidence import Threshold
from training.evaluation.judge import Evaluation, SetResult
from training.gate_rules import Floors, judge
from training.quantization import Latency, QuantisationChange


def a_set(accuracy=0.996, champion=None, p=None, num=10_000):
    return SetResult(
        num=num,
        accuracy=accuracy,
        accuracy_low=accuracy - 0.001,
        accuracy_high=accuracy + 0.001,
        accuracy_by_class=(accuracy,) * 10,
        ece=0.001,
        accepted_frac=0.99,
        accepted_error_frac=0.0005,
        coverage_at_default_target=0.99,
        champion_accuracy=champion,
        mcnemar_p=p,
    )


@pytest.fixture
def good() -> Evaluation:
    change = QuantisationChange(0.9965, 0.996, 0.0004, 0.001, 0.05)
    return Evaluation(
        sets={"mnist": a_set(), "rendered": a_set(0.985)},
        corruptions={"blur": {"3": 0.99}},
        mean_corruption_accuracy=0.99,
        temperature=1.0,
        thresholds=(Threshold(0.001, 0.9, 0.98),),
        garbage_threshold=1.0,
        garbage=None,
        quantisation=change,
        rendered_quantisation=change,
        latency=Latency({"1": 80.0, "32": 64.0}, {"1": 50.0, "32": 30.0}),
        size_bytes=116_000,
        fp32_size_bytes=380_000,
    )


def test_a_good_first_candidate_passes(good):
    verdict = judge(good, Floors())
    assert verdict.passed
    assert verdict.failures == ()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"sets": {"mnist": a_set(0.9929), "rendered": a_set(0.985)}}, "MNIST test accuracy"),
        ({"sets": {"mnist": a_set(), "rendered": a_set(0.5)}}, "rendered test accuracy"),
        (
            {"quantisation": QuantisationChange(0.9975, 0.996, 0.0004, 0.001, 0.05)},
            "int8 accuracy drop",
        ),
        (
            {"quantisation": QuantisationChange(0.996, 0.996, 0.0025, 0.001, 0.05)},
            "int8 label flips",
        ),
        (
            {"latency": Latency({"1": 50.0, "32": 31.0}, {"1": 50.0, "32": 30.0})},
            "int8/fp32 latency at batch 32",
        ),
        ({"size_bytes": 200_001}, "model file bytes"),
    ],
)
def test_each_floor_refuses_alone_and_says_so(good, change, name):
    verdict = judge(replace(good, **change), Floors())
    assert [reason.name for reason in verdict.failures] == [name]
    assert str(verdict.failures[0]).startswith(f"FAIL {name}: ")
    assert "limit" in str(verdict.failures[0])


@pytest.mark.parametrize(
    ("accuracy", "champion", "p", "passed"),
    [
        (0.9965, 0.9960, 0.4, True),
        (0.9955, 0.9960, 0.4, True),  # within chance
        (0.9955, 0.9960, 0.01, False),  # small, but no chance
        (0.9945, 0.9960, 0.06, False),  # more than MAX_DROP
    ],
)
def test_a_set_may_not_be_worse_than_the_champion(good, accuracy, champion, p, passed):
    sets = {"mnist": a_set(accuracy, champion, p), "rendered": a_set(0.985)}
    assert judge(replace(good, sets=sets), Floors()).passed is passed


@pytest.mark.parametrize(
    ("num_lost", "p", "passed"),
    [(1, 1.0, True), (4, 0.6, True), (5, 0.5, False), (1, 0.04, False)],
)
def test_a_small_set_allows_no_more_loss_than_it_can_resolve(good, num_lost, p, passed):
    sets = dict(good.sets) | {"uci": a_set(0.97 - num_lost / 1797, 0.97, p, num=1797)}
    assert judge(replace(good, sets=sets), Floors()).passed is passed
