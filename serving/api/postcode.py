"""/v1/postcode: the digit crops of one code -> the code, accepted or rejected."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from model.errors import CropError
from serving.api.codes import (
    MAX_DIGITS,
    MAX_PATTERN_CHARS,
    MIN_DIGITS,
    CodeDecision,
    Pattern,
    PatternError,
    Postcodes,
    decide_code,
)
from serving.api.counting import ReadingCounter
from serving.api.digits import answer_of_read, reading_fields
from serving.api.payloads import DEFAULT_TOP_K, FORM_TYPE, many_crops, query_params
from serving.api.turns import form_s, parse_in_turn
from serving.messages import Answer, Reading, Request
from serving.problems import Problem, problem_of
from serving.reading.reader import Reader

_RANK_S: Final = 0.001  # predicted, to rank the codes
_MATCH_S: Final = 0.005  # and to match them with a caller's pattern


@dataclass(frozen=True, slots=True)
class PostcodeHandler:
    """The handler of /v1/postcode.

    Args:
        reader: reads the digits.
        counter: counts them.
        valid_codes: the possible codes; None: all codes are possible.
    """

    reader: Reader
    counter: ReadingCounter
    valid_codes: Postcodes | None

    async def postcode(self, request: Request) -> Answer:
        """Read an ordered list of digit crops as one code."""
        pattern = pattern_of(request)
        sources = await parse_in_turn(self.reader, request, _digit_crops, form_s(request.body))
        if len(sources) < MIN_DIGITS:
            raise Problem(
                422, f"{len(sources)} crops were sent; a postcode has {MIN_DIGITS} to {MAX_DIGITS}"
            )
        is_bulk = request.content_type != FORM_TYPE  # a scanner sends one crop a field
        readings = []
        for position, one in enumerate(
            await self.reader.read_many(sources, request, is_bulk=is_bulk)
        ):
            if isinstance(one, CropError):
                raise Problem(problem_of(one).status, f"crop {position}: {one}")
            readings.append(one)
        answer = await self.code_of(readings, request, pattern)
        self.counter.count_soon(request, readings)
        content = {
            "request_id": request.id,
            "read_id": request.read_id,
            **answer,
            "digits": [reading_fields(one.decision, DEFAULT_TOP_K) for one in readings],
            "model_version": request.model.version,
        }
        return answer_of_read(request, content)

    async def code_of(
        self, readings: list[Reading], request: Request, pattern: Pattern | None = None
    ) -> dict[str, Any]:
        """The answer to a whole code, in the turn of the request's sender."""
        decide = partial(self._decide_code, readings, pattern, request.model.policy.threshold)
        if pattern is None:
            return await self.reader.in_turn(decide, request, _RANK_S, is_admitted=True)
        return await self.reader.beside(decide, request, _MATCH_S, is_admitted=True)

    def _decide_code(
        self, readings: list[Reading], pattern: Pattern | None, threshold: float
    ) -> dict[str, Any]:
        """Decide on the whole code.

        Raises:
            Problem: 400, the pattern takes too long.
        """
        decisions = [reading.decision for reading in readings]
        try:
            decided = decide_code(
                [None if one.digit is None else one.probs for one in decisions],
                [one.rejected_because for one in decisions],
                threshold,
                valid=self.valid_codes,
                pattern=pattern,
            )
        except PatternError as error:
            raise Problem(400, str(error)) from error
        return _code_answer(decided)


_digit_crops = partial(many_crops, max_files=MAX_DIGITS, max_packed=MAX_DIGITS)


def _code_answer(decided: CodeDecision) -> dict[str, Any]:
    best = decided.candidates[0] if decided.candidates else None
    answer: dict[str, Any] = {
        "code": best.code if best else None,
        "confidence": best.probability if best else 0.0,
        "accepted": decided.rejected_because is None,
        "candidates": [
            {"code": one.code, "probability": one.probability} for one in decided.candidates
        ],
    }
    if decided.rejected_because is not None:
        answer["rejected_because"] = decided.rejected_because
    return answer


def pattern_of(request: Request) -> Pattern | None:
    """What the caller says of the whole code; None: nothing.

    Raises:
        Problem: 400, it cannot be used.
    """
    text = query_params(request).get("pattern")
    if text is None:
        return None
    try:
        return Pattern(text)
    except PatternError as error:
        raise Problem(
            400,
            f"{error}; a pattern is a regular expression of at most {MAX_PATTERN_CHARS} characters",
        ) from error
