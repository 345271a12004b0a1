"""/v1/field: the image of a whole field -> its code and the box of each digit."""

import re
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from model.field import FieldDigit
from serving.api.codes import MAX_DIGITS, MIN_DIGITS, PatternError, Postcodes, within_time
from serving.api.counting import ReadingCounter
from serving.api.digits import answer_of_read, reading_fields
from serving.api.payloads import DEFAULT_TOP_K, FORM_TYPE, form_files, query_params
from serving.api.postcode import pattern_of
from serving.api.turns import form_s, parse_in_turn
from serving.messages import Answer, Request
from serving.problems import Problem
from serving.reading.field_reader import FieldQuery, FieldRead, FieldReader

USUAL_DIGITS: Final = (4, 10)  # of the world's postcodes; where neither caller nor directory tells
_DIGITS: Final = re.compile(r"([1-9][0-9]?)(?:-([1-9][0-9]?))?")
_one_file = partial(form_files, field="image", max_files=1)


@dataclass(frozen=True, slots=True)
class FieldHandler:
    """The handler of /v1/field.

    Args:
        fields: reads fields.
        counter: counts their digits.
        valid_codes: the possible codes; None: all codes are possible.
    """

    fields: FieldReader
    counter: ReadingCounter
    valid_codes: Postcodes | None

    async def field(self, request: Request) -> Answer:
        """Read one field."""
        query = self.query_of(request)
        source = request.body
        if request.content_type == FORM_TYPE:
            reader = self.fields.reader
            source = (await parse_in_turn(reader, request, _one_file, form_s(source)))[0]
        if not source:
            raise Problem(400, "the body is empty; send a PNG or JPEG file")
        try:
            read = await self.fields.read(source, request, query)
        except PatternError as error:
            raise Problem(400, str(error)) from error
        self.counter.count_soon(request, read.readings)
        digits = zip(read.code.digits, read.readings, strict=False)  # without digits: the field
        content = {
            "request_id": request.id,
            "read_id": request.read_id,
            **code_fields(read),
            "digits": [
                {"box": box_of(digit), **reading_fields(reading.decision, DEFAULT_TOP_K)}
                for digit, reading in digits
            ],
            "model_version": request.model.version,
        }
        return answer_of_read(request, content)

    def query_of(self, request: Request) -> FieldQuery:
        """What the caller and the directory say of the code.

        Raises:
            Problem: 400, digits or pattern cannot be used.
        """
        valid = self.valid_codes
        pattern = pattern_of(request) if request.query_string else None
        return FieldQuery(
            num_digits=_num_digits(request)
            or (USUAL_DIGITS if valid is None else valid.num_digits),
            possible=None if valid is None else valid.possible,
            matches=None if pattern is None else within_time(pattern),
        )


def is_field(request: Request) -> bool:
    """Whether the query says that the picture is a field."""
    return bool(request.query_string) and "digits" in query_params(request)


def code_fields(read: FieldRead) -> dict[str, Any]:
    """The code's part of an answer."""
    code = read.code
    best, probability = code.candidates[0] if code.candidates else (None, 0.0)
    fields: dict[str, Any] = {
        "code": best,
        "confidence": probability,
        "accepted": code.rejected_because is None,
        "candidates": [{"code": text, "probability": share} for text, share in code.candidates],
    }
    if code.rejected_because is not None:
        fields["rejected_because"] = code.rejected_because
    if read.detail is not None:
        fields["detail"] = read.detail
    return fields


def box_of(digit: FieldDigit) -> dict[str, int]:
    """Where a digit is, in pixels of the field."""
    return dict(zip(("x", "y", "width", "height"), digit.box, strict=True))


def _num_digits(request: Request) -> tuple[int, int] | None:
    """The least and most digits that the caller allows; None: it does not say.

    Raises:
        Problem: 400, `digits` is neither a number nor a range within 2 to 12.
    """
    if not request.query_string:
        return None
    text = query_params(request).get("digits")
    if text is None:
        return None
    match = _DIGITS.fullmatch(text)
    if match is not None:
        least = int(match[1])
        most = int(match[2] or least)
        if MIN_DIGITS <= least <= most <= MAX_DIGITS:
            return least, most
    raise Problem(
        400,
        f"digits is {text[:20]!r}; give a number from {MIN_DIGITS} to {MAX_DIGITS}, or a range as "
        "4-10",
    )
