"""What AWS's own description of an API says of the arguments of a call.

botocore ships that description of every API: names, enums, ranges, lengths, patterns, what is
required. ``checks`` walks a call's arguments (``api_calls.py``) along the operation's input shape.
What a string holds in a language of its own (events' patterns, IAM policies, the states language,
the dashboard) is asked for its length and characters only; names that AWS keeps in no model (engine
versions, instance classes, TLS policies) are cfn-lint's part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import regex  # the models' patterns are not all Python's
from api_calls import Call, shape

JSON = Any
ABSENT = object()
Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Check:
    """One constraint on one value."""

    kind: str  # enum, range, length, pattern, prose or required
    place: Place  # the way to the value from the call's arguments
    fault: str  # empty if the value is one that the API takes
    wrong: JSON  # a value that it does not take


PROSE = {  # what the model says in words only: None for "one of the words", else low and high
    "elbv2:ModifyLoadBalancerAttributes.Attributes.Key": None,
    "elbv2:ModifyTargetGroupAttributes.Attributes.Key": None,
    "logs:PutRetentionPolicy.retentionInDays": None,
    "rds:CreateDBInstance.AllocatedStorage": (
        r"RDS for PostgreSQL .*? gp3\): Must be an integer from ([\d,]+) to ([\d,]+)"
    ),
    "rds:CreateDBInstance.BackupRetentionPeriod": r"a value from (\d+) to (\d+)",
    "rds:CreateDBInstance.EnableCloudwatchLogsExports": None,
    "rds:CreateDBInstance.Engine": None,
    "rds:CreateDBInstance.PerformanceInsightsRetentionPeriod": None,
    "rds:CreateDBInstance.StorageType": None,
    "sns:Subscribe.Protocol": None,
    "sqs:CreateQueue.Attributes.MessageRetentionPeriod": (
        r"retains a message. Valid values: An integer from ([\d,]+) .*? to ([\d,]+) seconds"
    ),
}


def checks(call: Call) -> Iterator[Check]:
    """Every constraint that the model puts on the call's arguments."""
    model = shape(call.service, call.operation)
    yield from _walk(call.arguments, model, ())
    for name, bounds in PROSE.items():
        operation, *way = name.split(".")
        if operation == str(call):
            for place, value, text in _said(call.arguments, model, way, ()):
                yield _prose(place, value, text, bounds)


def faults(call: Call) -> list[str]:
    """What the API would refuse."""
    return [f"{call} {check.place}: {check.fault}" for check in checks(call) if check.fault]


def _walk(value: JSON, model: Any, place: Place) -> Iterator[Check]:
    if model.type_name == "structure":
        yield from _structure(value, model, place)
    elif model.type_name == "list":
        yield from _within("length", value, model, place)
        for index, item in enumerate(value):
            yield from _walk(item, model.member, (*place, index))
    elif model.type_name == "map":
        for key, item in value.items():
            for check in _string(key, model.key, place):
                yield Check(f"{check.kind} of key", (*place, key), check.fault, check.wrong)
            yield from _walk(item, model.value, (*place, key))
    elif model.type_name == "string":
        yield from _string(value, model, place)
    elif model.type_name in ("integer", "long", "float", "double"):
        yield from _within("range", value, model, place)


def _structure(value: JSON, model: Any, place: Place) -> Iterator[Check]:
    for name in model.required_members:
        fault = "" if name in value else "is required"
        yield Check("required", (*place, name), fault, ABSENT)
    for key, item in value.items():
        yield from _walk(item, model.members[key], (*place, key))


LONGEST = 1_000_000  # characters of a template: a limit above it cannot be passed
PSEUDO_PARAMETERS = {
    "${AWS::AccountId}": "123456789012",
    "${AWS::Partition}": "aws",
    "${AWS::Region}": "eu-central-1",
    "${AWS::URLSuffix}": "amazonaws.com",
}
REFERENCE = regex.compile(r"\{[a-z]+\.\w+[\w.]*\}|\{ssm:|\{run:|Fn::|\{\{resolve:")
SURROGATES = (r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF")  # the same in UTF-16


def _string(value: str, model: Any, place: Place) -> Iterator[Check]:
    for name, known in PSEUDO_PARAMETERS.items():
        value = value.replace(name, known)
    if REFERENCE.search(value):
        return  # only AWS knows it
    if model.enum:
        fault = "" if value in model.enum else f"{value!r} is not one of {model.enum}"
        yield Check("enum", place, fault, "NO_SUCH_VALUE")
    yield from _within("length", value, model, place)
    pattern = regex.compile(model.metadata.get("pattern", r"[\s\S]*").replace(*SURROGATES))
    wrong = next((text for text in ("\0\n", "no such value") if not pattern.fullmatch(text)), None)
    if wrong is not None:
        fault = "" if pattern.fullmatch(value) else f"{value!r} is not like {pattern.pattern}"
        yield Check("pattern", place, fault, wrong)


def _within(kind: str, value: JSON, model: Any, place: Place) -> Iterator[Check]:
    low, high = model.metadata.get("min"), model.metadata.get("max")
    number = len(value) if kind == "length" else value
    if high is not None and (kind == "range" or high < LONGEST):
        fault = "" if number <= high else f"{kind} {number}, at most {high} is allowed"
        yield Check(kind, place, fault, _sized(value, high + 1))
    if low is not None and (kind == "range" or low > 0):
        fault = "" if number >= low else f"{kind} {number}, at least {low} is needed"
        yield Check(kind, place, fault, _sized(value, low - 1))


def _sized(value: JSON, size: float) -> JSON:
    """Like the value, but as large or as long as that."""
    if isinstance(value, str):
        return "x" * int(size)
    if isinstance(value, list):
        return (value * int(size + 1))[: int(size)]
    return size


Said = Iterator[tuple[Place, JSON, str]]


def _said(value: JSON, model: Any, way: list[str], place: Place) -> Said:
    """The values at the end of the way through the shape, and what is written about them."""
    if model.type_name == "list":
        for index, item in enumerate(value):
            for found in _said(item, model.member, way, (*place, index)):
                yield (*found[:2], found[2] or model.documentation)
    elif not way:
        yield place, value, model.documentation
    elif way[0] in value:
        inner = model.value if model.type_name == "map" else model.members[way[0]]
        for found in _said(value[way[0]], inner, way[1:], (*place, way[0])):
            yield (*found[:2], found[2] or model.documentation)


def _prose(place: Place, value: JSON, markup: str, bounds: str | None) -> Check:
    text = " ".join(regex.sub(r"<[^>]+>", " ", markup).split())
    if bounds is None:
        words = regex.findall(r"[\w.-]+(?<![.])", text)
        fault = "" if str(value) in words else f"{value!r} is not named in: {text}"
        return Check("prose", place, fault, "no-such-word" if isinstance(value, str) else 10**9 + 7)
    low, high = (int(x.replace(",", "")) for x in regex.search(bounds, text).groups())
    fault = "" if low <= int(value) <= high else f"{value}, {low} to {high} are allowed"
    return Check("prose", place, fault, type(value)(high + 1))
