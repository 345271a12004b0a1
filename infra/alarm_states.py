"""When an alarm of the templates rings: CloudWatch's evaluation of the metrics it is given. Pure.

Source:
    Amazon CloudWatch user guide, "Evaluating an alarm", "Configuring how CloudWatch alarms treat
    missing data" and "Using metric math"; an alarm of one period that rang after three or four
    without data (Stack Overflow 72093282). The delay of a datapoint is the capacity simulator's.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.lookups import periods
from infra.world import Resource

MINUTE_S = 60
DATA_DELAY_S = 60  # from a period's end to its datapoint: PUBLISH_DELAY_S of the load balancer
EXTRA_PERIODS = 2  # that are read beyond an alarm's own, in case data is missing; AWS's example
# a metric's properties -> its value in each minute, which counts from the failure; no data: absent
Minutes = Callable[[Mapping[str, Any]], Mapping[int, float]]
_STATISTICS: dict[str, Callable[[list[float]], float]] = {
    "Sum": sum,
    "Maximum": max,
    "p99": max,  # of minutes that have a p99 each
    "Minimum": min,
    "Average": lambda values: sum(values) / len(values),
}
_OPERATORS: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_BREACHES: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
}


@dataclass(frozen=True, slots=True)
class _Missing(Exception):
    """A metric of an expression has no datapoint, and no FILL around it."""


def rings_after_s(alarm: Resource, minutes: Minutes, *, until_min: int) -> int | None:
    """Seconds from the failure to the alarm; None if it stays silent for so long."""
    period_min = max(1, max(periods(alarm)) // MINUTE_S)
    wanted = int(alarm.get("EvaluationPeriods"))
    history = -(wanted + EXTRA_PERIODS)
    values = [
        _value(alarm, minutes, range(n * period_min, (n + 1) * period_min))
        for n in range(history, until_min // period_min)
    ]
    for last in range(-history, len(values)):
        if _is_alarm(alarm, values[last - wanted - EXTRA_PERIODS + 1 : last + 1]):
            return (last + history + 1) * period_min * MINUTE_S + DATA_DELAY_S
    return None


def _is_alarm(alarm: Resource, window: list[float | None]) -> bool:
    """Real datapoints count first; what is missing of the wanted number is filled up."""
    wanted = alarm.get("EvaluationPeriods")
    real = [value for value in window if value is not None][-wanted:]
    breaches = _BREACHES[alarm.get("ComparisonOperator")]
    num_breaching = sum(breaches(value, alarm.get("Threshold")) for value in real)
    if alarm.get("TreatMissingData") == "breaching":
        num_breaching += wanted - len(real)
    return bool(num_breaching >= alarm.get("DatapointsToAlarm", wanted))


def _value(alarm: Resource, minutes: Minutes, span: range) -> float | None:
    """The datapoint of one period: a metric's statistic, or the result of the expression."""
    if alarm.get("MetricName"):
        return _statistic(minutes(alarm.properties), alarm.get("Statistic"), span)
    expression, found = "", {}
    for query in alarm.get("Metrics"):
        if stat := query.get("MetricStat"):
            found[query["Id"]] = _statistic(minutes(stat["Metric"]), stat["Stat"], span)
        else:
            expression = query["Expression"]
    if all(value is None for value in found.values()):
        return None  # FILL fills the gaps of a metric where another one has data
    try:
        return _compute(ast.parse(_as_python(expression), mode="eval").body, found)
    except (_Missing, ZeroDivisionError):
        return None


def _statistic(minutes: Mapping[int, float], name: str, span: range) -> float | None:
    values = [minutes[minute] for minute in span if minute in minutes]
    return _STATISTICS[name](values) if values else None


def _as_python(expression: str) -> str:
    return re.sub(r"\bAND\b", "and", expression)


def _compute(node: ast.AST, found: Mapping[str, float | None]) -> float:
    """The value of an expression of metric math, as far as the templates use it.

    Raises:
        _Missing: it needs a datapoint that does not exist.
        KeyError, TypeError: it uses what is not known here.
    """

    def value(of: ast.AST) -> float:
        return _compute(of, found)

    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name):
            if (known := found[name]) is None:
                raise _Missing
            return known
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](value(left), value(right))
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return _OPERATORS[type(op)](value(left), value(right))
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(value(part) for part in parts)
        case ast.Call(func=ast.Name(id="IF"), args=[condition, yes, no]):
            return value(yes) if value(condition) else value(no)
        case ast.Call(func=ast.Name(id="FILL"), args=[ast.Name(id=name), ast.Constant() as filler]):
            known = found[name]
            return value(filler) if known is None else known
    raise TypeError(f"metric math with {ast.dump(node)} is not known")
