"""/v1/digit and /v1/digits: one crop or many crops -> the answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import orjson

from model.decision import Decision
from model.errors import CropError
from serving.api.counting import ReadingCounter
from serving.api.payloads import FORM_TYPE, form_files, many_crops, top_k_of
from serving.api.turns import answer_in_turn, form_s, parse_in_turn
from serving.messages import Answer, Headers, Reading, Request
from serving.problems import Problem, problem_of, to_dict
from serving.reading.reader import Reader

MAX_CROPS: Final = 256
MAX_PACKED_CROPS: Final = 1024
READ_ID_HEADER: Final = b"x-read-id"


@dataclass(frozen=True, slots=True)
class DigitHandlers:
    """The handlers of /v1/digit and /v1/digits."""

    reader: Reader
    counter: ReadingCounter

    async def digit(self, request: Request) -> Answer:
        """Read one crop."""
        top_k = top_k_of(request)
        source = request.body
        if request.content_type == FORM_TYPE:
            source = (await parse_in_turn(self.reader, request, _one_file, form_s(source)))[0]
        if not source:
            raise Problem(400, "the body is empty; send a PNG or JPEG file")
        reading = await self.reader.read(source, request)
        self.counter.count_soon(request, [reading])
        content = {
            "request_id": request.id,
            "read_id": request.read_id,
            **reading_fields(reading.decision, top_k),
            "model_version": request.model.version,
        }
        return answer_of_read(request, content)

    async def digits(self, request: Request) -> Answer:
        """Read many crops; a crop that cannot be read has an error in its place."""
        top_k = top_k_of(request)
        sources = await parse_in_turn(self.reader, request, _many_crops, form_s(request.body))
        readings = await self.reader.read_many(sources, request, is_bulk=len(sources) > 1)
        self.counter.count_soon(request, readings)
        build = partial(self._digits_answer, request, readings, top_k)
        return await answer_in_turn(self.reader, request, len(readings), build)

    def _digits_answer(
        self, request: Request, readings: Sequence[Reading | CropError], top_k: int
    ) -> Answer:
        results = [
            {"error": to_dict(problem_of(one), request.id)}
            if isinstance(one, CropError)
            else reading_fields(one.decision, top_k)
            for one in readings
        ]
        content = {
            "request_id": request.id,
            "read_id": request.read_id,
            "model_version": request.model.version,
            "results": results,
        }
        return answer_of_read(request, content)


def answer_of_read(request: Request, content: dict[str, Any]) -> Answer:
    """A JSON answer with the read id in its header."""
    return Answer(orjson.dumps(content), headers=read_id_header(request))


def read_id_header(request: Request) -> Headers:
    """The header that names the read, under which its records are found."""
    return ((READ_ID_HEADER, request.read_id.encode()),)


_one_file = partial(form_files, field="image", max_files=1)
_many_crops = partial(many_crops, max_files=MAX_CROPS, max_packed=MAX_PACKED_CROPS)


def reading_fields(decision: Decision, top_k: int) -> dict[str, Any]:
    """One crop's part of an answer."""
    fields: dict[str, Any] = {
        "digit": decision.digit,
        "confidence": decision.confidence,
        "accepted": decision.rejected_because is None,
        "candidates": [
            {"digit": digit, "probability": decision.probs[digit]}
            for digit in decision.ranking[:top_k]
        ],
    }
    if decision.rejected_because is not None:
        fields["rejected_because"] = decision.rejected_because
    return fields
