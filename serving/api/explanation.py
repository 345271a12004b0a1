"""/v1/explain: crops or a field -> the answer, what the model saw, which ink the answer depends on.

For people who try the service out; the page / is made of it. Nothing is recorded, so the answer has
no read id.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from model.errors import CropError
from model.framed import Framed
from serving.api.codes import MAX_DIGITS, PatternError
from serving.api.digits import reading_fields
from serving.api.payloads import FORM_TYPE, form_files, top_k_of
from serving.api.postcode import PostcodeHandler
from serving.api.turns import form_s, parse_in_turn
from serving.api.whole_field import FieldHandler, box_of, code_fields, is_field
from serving.messages import OTHER, Answer, Reading, Request
from serving.problems import Problem, problem_of, to_dict
from serving.reading.explainer import Explained, Explainer

_few_crops = partial(form_files, field=None, max_files=MAX_DIGITS)
_DECIMALS: Final = 4  # of a lost confidence


@dataclass(frozen=True, slots=True)
class ExplainHandler:
    """The handler of /v1/explain.

    Args:
        explainer: reads and explains crops.
        postcode: decides on the code that several crops form.
        field: says which codes a field may show.
    """

    explainer: Explainer
    postcode: PostcodeHandler
    field: FieldHandler

    async def explain(self, request: Request) -> Answer:
        """Explain one crop, the digits of one code, or with `digits` in the query a field."""
        if request.labels is not None:
            request.labels.traffic = OTHER  # no scanner's: its time is not in the service's p99
        top_k = top_k_of(request)
        sources: Sequence[bytes] = [request.body]
        if request.content_type == FORM_TYPE:
            reader = self.postcode.reader
            sources = await parse_in_turn(reader, request, _few_crops, form_s(request.body))
        elif not request.body:
            raise Problem(400, "the body is empty; send a PNG or JPEG file")
        started = time.perf_counter()
        if is_field(request):
            return await self._explain_field(sources, request, top_k, started)
        explained = await self.explainer.explain(sources, request)
        if len(explained) == 1 and isinstance(explained[0], CropError):
            raise problem_of(explained[0])
        code = await self._code(explained, request)
        return _answer(request, started, code, [_result(one, request, top_k) for one in explained])

    async def _explain_field(
        self, sources: Sequence[bytes], request: Request, top_k: int, started: float
    ) -> Answer:
        if len(sources) > 1:
            raise Problem(422, f"{len(sources)} files were sent; a field is one picture")
        query = self.field.query_of(request)
        try:
            read, explained = await self.explainer.explain_field(sources[0], request, query)
        except PatternError as error:
            raise Problem(400, str(error)) from error
        results = [
            {"box": box_of(digit), **_result(one, request, top_k)}
            for digit, one in zip(read.code.digits, explained, strict=True)
        ]
        return _answer(request, started, code_fields(read), results)

    async def _code(
        self, explained: Sequence[Explained | CropError], request: Request
    ) -> dict[str, Any] | None:
        """The answer of /v1/postcode to the code; None if it is no code, or a crop is unread."""
        readings = [one.reading for one in explained if isinstance(one, Explained)]
        if len(explained) < 2 or len(readings) < len(explained):
            return None
        return await self.postcode.code_of(readings, request)


def _answer(
    request: Request, started: float, code: dict[str, Any] | None, results: list[dict[str, Any]]
) -> Answer:
    content = {
        "request_id": request.id,
        "model_version": request.model.version,
        "threshold": request.model.policy.threshold,
        "explain_ms": round((time.perf_counter() - started) * 1e3, 3),
        "code": code,
        "results": results,
    }
    return Answer(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY))


def _result(one: Explained | CropError, request: Request, top_k: int) -> dict[str, Any]:
    if isinstance(one, CropError):
        return {"error": to_dict(problem_of(one), request.id)}
    reading = one.reading
    return {
        **reading_fields(reading.decision, top_k),
        "image": None if reading.image is None else _grey(reading.image[0]),
        "lost": None if one.lost is None else np.round(one.lost, _DECIMALS),
        "framing": None if reading.framed is None else _framing(reading.framed),
        "stages_ms": _stages_ms(reading),
    }


def _grey(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(28, 28) uint8, 255 is full ink: what /v2 takes as UINT8."""
    return np.rint(image * 255).astype(np.uint8)


def _framing(framed: Framed) -> dict[str, Any]:
    return {
        "inverted": framed.inverted,
        "passed_through": framed.passed_through,
        "num_parts": framed.num_parts,
        "num_dropped": framed.num_dropped,
        "edges_touched": framed.edges_touched,
    }


def _stages_ms(reading: Reading) -> dict[str, float]:
    return {
        "decode": round(reading.decode_ms, 3),
        "preprocess": round(reading.preprocess_ms, 3),
        "inference": round(reading.inference_ms, 3),
        "decision": round(reading.decision_ms, 3),
    }
