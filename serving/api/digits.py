"""/v1/digit and /v1/digits: one crop or many crops -> the answer."""

from dataclasses import dataclass
from typing import Any, Final

from model.decision import Decision
from model.errors import CropError
from serving.api.counting import ReadingCounter
from serving.api.payloads import FORM_TYPE, form_files, many_crops, top_k_of
from serving.messages import Answer, Request, json_answer
from serving.problems import Problem, problem_of, to_dict
from serving.reading.reader import Reader

MAX_CROPS: Final = 256
MAX_PACKED_CROPS: Final = 1024


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
            source = form_files(request, "image", max_files=1)[0]
        if not source:
            raise Problem(400, "the body is empty; send a PNG or JPEG file")
        reading = await self.reader.read(source, request)
        self.counter.count_soon(request, [reading])
        content = {
            "request_id": request.id,
            **reading_fields(reading.decision, top_k),
            "model_version": self.reader.artifact.version,
        }
        return json_answer(content)

    async def digits(self, request: Request) -> Answer:
        """Read many crops; a crop that cannot be read has an error in its place."""
        top_k = top_k_of(request)
        sources = many_crops(request, max_files=MAX_CROPS, max_packed=MAX_PACKED_CROPS)
        readings = await self.reader.read_many(sources, request)
        self.counter.count_soon(request, readings)
        results = [
            {"error": to_dict(problem_of(one), request.id)}
            if isinstance(one, CropError)
            else reading_fields(one.decision, top_k)
            for one in readings
        ]
        content = {
            "request_id": request.id,
            "model_version": self.reader.artifact.version,
            "results": results,
        }
        return json_answer(content)


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
