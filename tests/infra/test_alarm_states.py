"""The evaluation of alarms follows CloudWatch's own examples."""

from __future__ import annotations

from typing import Any

import pytest

from infra.alarm_states import rings_after_s
from infra.world import Resource

METRIC = {"Namespace": "Digitline", "MetricName": "Requests", "Period": 60, "Statistic": "Sum"}
ABOVE = {"ComparisonOperator": "GreaterThanThreshold", "Threshold": 3}


def alarm(**properties: Any) -> Resource:
    return Resource(
        "{watch.Alarm}", "AWS::CloudWatch::Alarm", {**ABOVE, "EvaluationPeriods": 3, **properties}
    )


def rings(watched: Resource, after: dict[int, float], before: float = 0) -> int | None:
    data = dict.fromkeys(range(-10, 0), before) | after
    return rings_after_s(watched, lambda metric: data, until_min=15)


def test_three_of_three_datapoints_and_the_delay_of_the_last_one() -> None:
    assert rings(alarm(**METRIC), dict.fromkeys(range(15), 5)) == 240


def test_two_of_three_datapoints_need_not_follow_each_other() -> None:
    assert rings(alarm(**METRIC, DatapointsToAlarm=2), {0: 5, 1: 0, 2: 5}) == 240


def test_a_value_at_the_threshold_is_no_breach() -> None:
    assert rings(alarm(**METRIC), dict.fromkeys(range(15), 3)) is None


# AWS's table for three datapoints of three: the two older ones of the range come first.
@pytest.mark.parametrize(("treat", "after_s"), [("breaching", 360), ("notBreaching", None)])
def test_missing_data_counts_when_too_few_real_datapoints_are_left(
    treat: str, after_s: int | None
) -> None:
    assert rings(alarm(**METRIC, TreatMissingData=treat), {}) == after_s


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("IF(n > 100, 2 * n, 0)", 0),
        ("IF(n >= 100 AND FILL(gap, 7) >= 7, FILL(gap, 7) / n, 0)", 0.07),
        ("n - FILL(gap, 1) + 1", 100),
        ("n + gap", None),
    ],
)
def test_metric_math(expression: str, value: float | None) -> None:
    def query(name: str) -> dict[str, Any]:
        stat = {"Metric": {"MetricName": name}, "Period": 60, "Stat": "Sum"}
        return {"Id": name, "MetricStat": stat, "ReturnData": False}

    metrics = [{"Id": "e", "Expression": expression}, query("n"), query("gap")]
    data = {"n": dict.fromkeys(range(-10, 15), 100.0), "gap": {}}

    def is_above(threshold: float) -> bool:
        watched = alarm(Metrics=metrics, Threshold=threshold)
        return rings_after_s(watched, lambda m: data[m["MetricName"]], until_min=5) is not None

    if value is None:
        assert not is_above(-1e9)
    else:
        assert is_above(value - 0.001)
        assert not is_above(value)
