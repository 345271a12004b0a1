"""Checks the arguments of AWS calls against AWS's own description of each API.

botocore ships that description: names, enums, ranges, lengths, patterns, required members.
``checks`` walks a call's arguments (``api_calls.py``) along the operation's input shape. Two things
are not checked here: the content of strings in another language (event patterns, IAM policies, the
states language, the dashboard), except length and characters; and names that no model lists (engine
versions, instance classes, TLS policies), which cfn-lint checks.
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
    place: Place  # keys from the call's arguments to the value
    fault: str  # empty if the API accepts the value
    wrong: JSON  # a value that the API rejects


PROSE = {  # limits in the documentation only: None for "one of its words", else low and high
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
    """Every constraint of the model on the call's arguments."""
    model = shape(call.service, call.operation)
    yield from _walk(call.arguments, model, ())
    for name, bounds in PROSE.items():
        operation, *path = name.split(".")
        if operation == str(call):
            for place, value, text in _documented(call.arguments, model, path, ()):
                yield _prose(place, value, text, bounds)


def faults(call: Call) -> list[str]:
    """The arguments that the API would reject."""
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


LONGEST = 1_000_000  # characters of a template: a template cannot exceed a limit above it
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
        return  # the value is known to AWS only
    if model.enum:
        fault = "" if value in model.enum else f"{value!r} is not one of {model.enum}"
        yield Check("enum", place, fault, "NO_SUCH_VALUE")
    yield from _within("length", value, model, place)
    pattern = regex.compile(model.metadata.get("pattern", r"[\s\S]*").replace(*SURROGATES))
    wrong = next((text for text in ("\0\n", "no such value") if not pattern.fullmatch(text)), None)
    if wrong is not None:
        fault = "" if pattern.fullmatch(value) else f"{value!r} does not match {pattern.pattern}"
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
    """A value of the same type with that size or length."""
    if isinstance(value, str):
        return "x" * int(size)
    if isinstance(value, list):
        return (value * int(size + 1))[: int(size)]
    return size


Documented = Iterator[tuple[Place, JSON, str]]


def _documented(value: JSON, model: Any, path: list[str], place: Place) -> Documented:
    """The values at the end of the path through the shape, with their documentation."""
    if model.type_name == "list":
        for index, item in enumerate(value):
            for found in _documented(item, model.member, path, (*place, index)):
                yield (*found[:2], found[2] or model.documentation)
    elif not path:
        yield place, value, model.documentation
    elif path[0] in value:
        inner = model.value if model.type_name == "map" else model.members[path[0]]
        for found in _documented(value[path[0]], inner, path[1:], (*place, path[0])):
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
