"""The requests that scanners send, and the check of an answer against its labels.

Mostly single crops, some bundles, some postcodes, a few whole fields. Locust and the open-loop
client share them.
"""

import random
from dataclasses import dataclass
from typing import Any, Final

import orjson

from loadtest import digit_crops
from loadtest.clients.http1 import Request, multipart
from loadtest.digit_crops import LabelledCrop
from loadtest.field_images import field_png

SHARES: Final = {"digit": 0.90, "digits": 0.05, "postcode": 0.04, "field": 0.01}
BUNDLE: Final = 8
CODE_LENGTH: Final = 5
NUM_CALLS: Final = 2000
PATHS: Final = {
    "digit": "/v1/digit",
    "digits": "/v1/digits",
    "postcode": "/v1/postcode",
    "field": f"/v1/field?digits={CODE_LENGTH}",
}


@dataclass(frozen=True, slots=True)
class Call:
    """One request and the labels of its crops, in order."""

    kind: str
    request: Request
    labels: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """How an answer compares with the labels."""

    num_right: int
    is_wrong: bool  # a digit was accepted that differs from its label


def standard_calls(keys: list[str], num_calls: int = NUM_CALLS) -> list[Call]:
    """The calls of every load test: the shipped test crops, the same sequence in every run."""
    return calls(digit_crops.load(), keys, num_calls, random.Random(7))  # noqa: S311


def calls(
    crops: list[LabelledCrop], keys: list[str], num_calls: int, rng: random.Random
) -> list[Call]:
    """Make calls ahead of time; every site's key sends an equal share.

    Args:
        crops: to choose from.
        keys: one API key per site; without keys none is sent.
        num_calls: number of calls.
        rng: chooses kinds, crops and keys.
    """
    kinds = rng.choices(list(SHARES), weights=list(SHARES.values()), k=num_calls)
    return [_call(kind, crops, rng.choice(keys) if keys else None, rng) for kind in kinds]


def _call(kind: str, crops: list[LabelledCrop], key: str | None, rng: random.Random) -> Call:
    headers = {"X-Api-Key": key} if key else {}
    if kind == "digit":
        crop = rng.choice(crops)
        request = Request(PATHS[kind], "image/png", crop.png, headers)
        return Call(kind, request, (crop.label,))
    chosen = rng.choices(crops, k=BUNDLE if kind == "digits" else CODE_LENGTH)
    if kind == "field":
        request = Request(PATHS[kind], "image/png", field_png(chosen, rng), headers)
        return Call(kind, request, tuple(crop.label for crop in chosen))
    request = multipart(PATHS[kind], "images", [crop.png for crop in chosen], headers)
    return Call(kind, request, tuple(crop.label for crop in chosen))


def check(call: Call, body: bytes) -> Check:
    """Compare an answer with the labels of its call.

    Raises:
        ValueError: the body is not an answer to this call.
    """
    try:
        answer = orjson.loads(body)
        if call.kind == "field":
            return _check_field(answer, call.labels)
        pairs = list(zip(_readings(call.kind, answer), call.labels, strict=True))
        return Check(
            num_right=sum(row["digit"] == label for row, label in pairs),
            is_wrong=any(row["accepted"] and row["digit"] != label for row, label in pairs),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not an answer to {call.kind}: {body[:200]!r}") from error


def _check_field(answer: dict[str, Any], labels: tuple[int, ...]) -> Check:
    """A field is accepted or not as a whole; its digits may be cut in other places."""
    digits = [row["digit"] for row in answer["digits"]]
    is_right = answer["code"] == "".join(map(str, labels))
    return Check(
        num_right=sum(map(int.__eq__, digits, labels)) if len(digits) == len(labels) else 0,
        is_wrong=answer["accepted"] and not is_right,
    )


def _readings(kind: str, answer: dict[str, Any]) -> list[dict[str, Any]]:
    if kind == "digit":
        return [answer]
    rows: list[dict[str, Any]] = answer["results" if kind == "digits" else "digits"]
    return rows
