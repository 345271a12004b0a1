"""The answers, typed, and how they are made from the service's JSON. Knows nothing about HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

# rules_unconfirmed: of a local read; the service may accept by other rules.
# code_rejected: of a digit of a field.
RejectedBecause = Literal[
    "low_confidence", "blank", "not_a_digit", "site_on_hold", "rules_unconfirmed", "code_rejected"
]
CodeRejectedBecause = RejectedBecause | Literal["no_valid_code"]
FieldRejectedBecause = CodeRejectedBecause | Literal["no_code"]
Source = Literal["service", "local"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One possible digit."""

    digit: int  # 0 to 9
    probability: float


@dataclass(frozen=True, slots=True)
class DigitReading:
    """One digit of a code."""

    digit: int | None  # None: the crop is blank
    confidence: float  # 0 to 1
    accepted: bool  # whether a machine may act on it
    rejected_because: RejectedBecause | None  # None if accepted
    candidates: tuple[Candidate, ...]  # most probable first


@dataclass(frozen=True, slots=True)
class Reading(DigitReading):
    """The answer to one crop.

    `read_id` with `crop_index` names the crop in labels and in erasure. Reads that were bundled
    share a read id and a request id.
    """

    read_id: str
    request_id: str  # sent as X-Request-Id, the same over all tries
    model_version: str
    took_ms: float  # from the call to the answer
    source: Source = "service"  # "local": read on this machine, not by the service
    crop_index: int = 0


@dataclass(frozen=True, slots=True)
class CodeCandidate:
    """One possible code."""

    code: str
    probability: float


@dataclass(frozen=True, slots=True)
class CodeReading:
    """The answer to the crops of one code; the crop of `digits[i]` has the index i in labels."""

    code: str | None  # None: no possible code
    confidence: float  # of the whole code
    accepted: bool
    rejected_because: CodeRejectedBecause | None
    candidates: tuple[CodeCandidate, ...]
    digits: tuple[DigitReading, ...]
    read_id: str
    request_id: str
    model_version: str
    took_ms: float


@dataclass(frozen=True, slots=True)
class Box:
    """Where a digit is in the image of a field, turned upright if its EXIF data say so."""

    left_px: int
    top_px: int
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True)
class FieldDigit(DigitReading):
    """One digit of a field, and where it is.

    `rejected_because` may be "code_rejected": the digit is clear, the code is not accepted.
    """

    box: Box


@dataclass(frozen=True, slots=True)
class FieldReading:
    """The answer to the image of a whole field; `digits[i]` has the index i in labels."""

    code: str | None  # None: no possible code
    confidence: float  # of the whole code
    accepted: bool
    rejected_because: FieldRejectedBecause | None
    detail: str | None  # why no digits were found
    candidates: tuple[CodeCandidate, ...]
    digits: tuple[FieldDigit, ...]
    read_id: str
    request_id: str
    model_version: str
    took_ms: float


@dataclass(frozen=True, slots=True)
class StoredLabel:
    """A label that is on the service's disk."""

    event_id: str  # the same for the same label sent again
    read_id: str
    crop_index: int
    label: str
    read: Literal["known", "unchecked"]  # unchecked: nobody could tell whether the crop is captured


def reading_of(
    answer: Mapping[str, Any],
    *,
    took_ms: float,
    source: Source = "service",
    result: Mapping[str, Any] | None = None,
    crop_index: int = 0,
) -> Reading:
    """One reading.

    Args:
        answer: the body of `POST /v1/digit`; of `POST /v1/digits`, if `result` is given.
        took_ms: from the call to the answer.
        source: who read.
        result: of many crops, the one at `crop_index`.
        crop_index: its place in the request.

    Raises:
        KeyError, TypeError, ValueError: the body has another shape.
    """
    return Reading(
        **_digit_fields(answer if result is None else result),
        read_id=_text(answer, "read_id"),
        request_id=_text(answer, "request_id"),
        model_version=_text(answer, "model_version"),
        took_ms=took_ms,
        source=source,
        crop_index=crop_index,
    )


def code_reading_of(answer: Mapping[str, Any], *, took_ms: float) -> CodeReading:
    """The body of `POST /v1/postcode`; errors as `reading_of`."""
    digits = tuple(DigitReading(**_digit_fields(one)) for one in answer["digits"])
    return CodeReading(**_code_fields(answer), digits=digits, took_ms=took_ms)


def field_reading_of(answer: Mapping[str, Any], *, took_ms: float) -> FieldReading:
    """The body of `POST /v1/field`; errors as `reading_of`."""
    digits = tuple(
        FieldDigit(**_digit_fields(one), box=_box_of(one["box"])) for one in answer["digits"]
    )
    return FieldReading(
        **_code_fields(answer), detail=answer.get("detail"), digits=digits, took_ms=took_ms
    )


def stored_label_of(result: Mapping[str, Any]) -> StoredLabel:
    """One of the results of `POST /v1/labels`; errors as `reading_of`."""
    return StoredLabel(
        event_id=_text(result, "event_id"),
        read_id=_text(result, "read_id"),
        crop_index=_whole(result, "crop_index"),
        label=str(result["label"]),
        read=result["read"],
    )


def _digit_fields(one: Mapping[str, Any]) -> dict[str, Any]:
    digit = None if one["digit"] is None else _digit(one)
    return {
        "digit": digit,
        "confidence": _share(one, "confidence"),
        "accepted": _accepted(one, digit),
        "rejected_because": one.get("rejected_because"),
        "candidates": tuple(
            Candidate(_digit(each), _share(each, "probability")) for each in one["candidates"]
        ),
    }


def _code_fields(answer: Mapping[str, Any]) -> dict[str, Any]:
    code = None if answer["code"] is None else _text(answer, "code")
    return {
        "code": code,
        "confidence": _share(answer, "confidence"),
        "accepted": _accepted(answer, code),
        "rejected_because": answer.get("rejected_because"),
        "candidates": tuple(
            CodeCandidate(_text(each, "code"), _share(each, "probability"))
            for each in answer["candidates"]
        ),
        "read_id": _text(answer, "read_id"),
        "request_id": _text(answer, "request_id"),
        "model_version": _text(answer, "model_version"),
    }


def _box_of(box: Mapping[str, Any]) -> Box:
    return Box(*(_whole(box, name) for name in ("x", "y", "width", "height")))


# A machine acts on these: nothing is converted that the service does not say so.


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is {value!r}; expected text")
    return value


def _whole(fields: Mapping[str, Any], name: str) -> int:
    value = fields[name]
    if type(value) is not int:
        raise ValueError(f"{name} is {value!r}; expected a whole number")
    return value


def _digit(fields: Mapping[str, Any]) -> int:
    value = _whole(fields, "digit")
    if not 0 <= value <= 9:
        raise ValueError(f"digit is {value}; expected 0 to 9")
    return value


def _share(fields: Mapping[str, Any], name: str) -> float:
    value = fields[name]
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise ValueError(f"{name} is {value!r}; expected 0 to 1")
    return float(value)


def _accepted(fields: Mapping[str, Any], read: int | str | None) -> bool:
    value = fields["accepted"]
    if not isinstance(value, bool) or (value and read is None):
        raise ValueError(f"accepted is {value!r}, and what was read {read!r}")
    return value
