"""The HTTP API: path -> handler. Knows what a request means, not how its bytes came."""

import asyncio
import io
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser

from model.decision import Decision
from model.decode import MAX_AREA_PX, MAX_SIDE_PX, MIN_SIDE_PX, check_size
from model.errors import CropError
from serving.api import openapi, openinference
from serving.api.postcode import (
    MAX_DIGITS,
    MAX_PATTERN_CHARS,
    MIN_DIGITS,
    Pattern,
    PatternError,
    Postcodes,
    rank_codes,
)
from serving.config import Settings
from serving.messages import Answer, Request, Scope, json_answer
from serving.problems import Problem, problem_of, to_dict
from serving.reading.health import Health
from serving.reading.reader import Reader, Reading
from serving.telemetry import METRICS_CONTENT_TYPE, Telemetry
from serving.tracing import Tracer

DEFAULT_TOP_K: Final = 5
MAX_TOP_K: Final = 5
_TOP_KS: Final = frozenset(str(number) for number in range(1, MAX_TOP_K + 1))
MAX_CROPS: Final = 256
MAX_PACKED_CROPS: Final = 1024
MAX_PARSED_AT_ONCE_BYTES: Final = 65_536  # half a millisecond of JSON; more is parsed on a thread
NUM_CODES: Final = 10
MIN_POSSIBLE_FRAC: Final = 0.1  # of the digits' joint mass that must lie on possible codes
IMAGE_TYPES: Final = ("image/png", "image/jpeg")
FORM_TYPE: Final = "multipart/form-data"
NPY_TYPE: Final = "application/x-npy"
JSON_TYPE: Final = "application/json"
OCTET_TYPE: Final = "application/octet-stream"
NO_TYPE: Final = ""  # Triton's own client names none

Handler = Callable[[Request], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """What the edge checks before a handler sees a request."""

    endpoint: str  # as metrics name it
    method: str
    handler: Handler | None  # None: BentoML answers this path itself
    scope: Scope | None = "predict"  # None: anybody
    content_types: tuple[str, ...] = ()  # empty: no body
    is_bulk: bool = False  # the larger body limit


@dataclass(frozen=True, slots=True)
class Api:
    """The handlers, with what they need."""

    reader: Reader
    settings: Settings
    telemetry: Telemetry
    tracer: Tracer
    health: Health
    postcodes: Postcodes | None

    def routes(self) -> dict[str, Route]:
        """Path -> route."""
        single, bulk = (*IMAGE_TYPES, FORM_TYPE), (FORM_TYPE, NPY_TYPE)
        return {
            "/v1/digit": Route("digit", "POST", self.digit, content_types=single),
            "/v1/digits": Route("digits", "POST", self.digits, content_types=bulk, is_bulk=True),
            "/v1/postcode": Route(
                "postcode", "POST", self.postcode, content_types=bulk, is_bulk=True
            ),
            "/v1/model": Route("model", "GET", self.model),
            "/livez": Route("livez", "GET", self.livez, scope=None),
            "/readyz": Route("readyz", "GET", self.readyz, scope=None),
            "/metrics": Route("metrics", "GET", self.metrics, scope=None),
            "/openapi.json": Route("openapi", "GET", self.openapi, scope=None),
            "/docs": Route("docs", "GET", self.docs, scope=None),
            "/v2": Route("v2", "GET", self.v2_server, scope=None),
            "/v2/health/live": Route("v2-live", "GET", self.v2_live, scope=None),
            "/v2/health/ready": Route("v2-ready", "GET", self.v2_ready, scope=None),
            **self._model_routes(openinference.MODEL_PATH),
            **self._model_routes(
                f"{openinference.MODEL_PATH}/versions/{self.reader.artifact.version}"
            ),
        }

    def _model_routes(self, path: str) -> dict[str, Route]:
        """Open Inference Protocol: the model, which callers may name with its version."""
        types = (JSON_TYPE, OCTET_TYPE, NO_TYPE)
        return {
            path: Route("v2-model", "GET", self.v2_model),
            f"{path}/ready": Route("v2-model-ready", "GET", self.v2_ready, scope=None),
            f"{path}/infer": Route(
                "v2-infer", "POST", self.v2_infer, content_types=types, is_bulk=True
            ),
        }

    async def digit(self, request: Request) -> Answer:
        """Read one crop."""
        top_k = _top_k(request)
        source = request.body
        if request.content_type == FORM_TYPE:
            source = (await _form_files(request, "image", max_files=1))[0]
        if not source:
            raise Problem(400, "the body is empty; send a PNG or JPEG file")
        reading = await self.reader.read(source, request)
        self._count_soon(request, [reading])
        content = {
            "request_id": request.id,
            **_reading_fields(reading.decision, top_k),
            "model_version": self.reader.artifact.version,
        }
        return json_answer(content)

    async def digits(self, request: Request) -> Answer:
        """Read many crops; one that cannot be read is an error in its place."""
        top_k = _top_k(request)
        sources = await _many_sources(request, MAX_CROPS)
        readings = await self.reader.read_many(sources, request)
        self._count_soon(request, readings)
        results = [
            {"error": to_dict(problem_of(one), request.id)}
            if isinstance(one, CropError)
            else _reading_fields(one.decision, top_k)
            for one in readings
        ]
        content = {
            "request_id": request.id,
            "model_version": self.reader.artifact.version,
            "results": results,
        }
        return json_answer(content)

    async def postcode(self, request: Request) -> Answer:
        """Read an ordered list of digit crops as one code."""
        pattern = _pattern(request)
        sources = await _many_sources(request, MAX_DIGITS)
        if len(sources) < MIN_DIGITS:
            raise Problem(
                422, f"{len(sources)} crops were sent; a postcode has {MIN_DIGITS} to {MAX_DIGITS}"
            )
        readings = []
        for position, one in enumerate(await self.reader.read_many(sources, request)):
            if isinstance(one, CropError):
                raise Problem(problem_of(one).status, f"crop {position}: {one}")
            readings.append(one)
        answer = await asyncio.get_running_loop().run_in_executor(
            None, partial(self._decide_code, readings, pattern)
        )
        self._count_soon(request, readings)
        content = {
            "request_id": request.id,
            **answer,
            "digits": [_reading_fields(one.decision, DEFAULT_TOP_K) for one in readings],
            "model_version": self.reader.artifact.version,
        }
        return json_answer(content)

    def _decide_code(self, readings: list[Reading], pattern: Pattern | None) -> dict[str, Any]:
        """Accept a code when it is whole, possible and likely enough.

        The threshold is that of one digit: a code is one read, and the error target is promised
        for what a machine acts on.
        """
        decisions = [reading.decision for reading in readings]
        unread = [one.rejected_because for one in decisions if one.digit is None]
        if unread:
            return _code_answer("blank", [])
        ranking = rank_codes(
            [one.probs for one in decisions],
            top_k=NUM_CODES,
            valid=self.postcodes,
            pattern=pattern,
        )
        candidates = [
            {"code": one.code, "probability": one.probability} for one in ranking.candidates
        ]
        # The digits were read, and they are no possible code: its nearest neighbour is a guess.
        if not candidates or ranking.possible_frac < MIN_POSSIBLE_FRAC:
            return _code_answer("no_valid_code", candidates)
        if any(one.rejected_because == "not_a_digit" for one in decisions):
            return _code_answer("not_a_digit", candidates)
        if ranking.candidates[0].probability < self.reader.policy.threshold:
            return _code_answer("low_confidence", candidates)
        return _code_answer(None, candidates)

    async def model(self, request: Request) -> Answer:
        """What is served, and within which limits."""
        manifest, policy = self.reader.artifact.manifest, self.reader.policy
        content = {
            "name": manifest.get("name", "digits"),
            "version": self.reader.artifact.version,
            "sha256": self.reader.artifact.sha256,
            "created": manifest.get("created", ""),
            "metrics": manifest["metrics"],
            "thresholds": {
                "error_target": self.settings.error_target or manifest["default_error_target"],
                "confidence": policy.threshold,
                "garbage": policy.garbage_threshold,
                "temperature": policy.temperature,
            },
            "input_limits": self._input_limits(),
        }
        return json_answer(content)

    def _input_limits(self) -> dict[str, Any]:
        return {
            "content_types": list(IMAGE_TYPES),
            "min_side_px": MIN_SIDE_PX,
            "max_side_px": MAX_SIDE_PX,
            "max_area_px": MAX_AREA_PX,
            "max_body_bytes": self.settings.max_body_bytes,
            "max_bulk_body_bytes": self.settings.max_bulk_body_bytes,
            "max_crops": MAX_CROPS,
            "max_packed_crops": MAX_PACKED_CROPS,
            "max_postcode_digits": MAX_DIGITS,
        }

    async def livez(self, request: Request) -> Answer:
        """The process answers."""
        return json_answer({"status": "ok"})

    async def readyz(self, request: Request) -> Answer:
        """A golden crop is read right by the path that requests take, and nothing is amiss."""
        reasons = await self.health.reasons_not_ready()
        self.telemetry.ready.set(not reasons)
        if reasons:
            return json_answer({"status": "not_ready", "reasons": reasons}, status=503)
        return json_answer({"status": "ok", "reasons": []})

    async def metrics(self, request: Request) -> Answer:
        """Prometheus' text format, all workers together."""
        await asyncio.sleep(0)  # what has just been answered is counted first
        return Answer(self.telemetry.exposition(), content_type=METRICS_CONTENT_TYPE)

    async def openapi(self, request: Request) -> Answer:
        """The OpenAPI 3.1 description."""
        return Answer(openapi.to_json(self.reader.artifact.version))

    async def docs(self, request: Request) -> Answer:
        """The same as a page to read; it loads nothing from elsewhere."""
        page = openapi.to_page(self.reader.artifact.version)
        return Answer(page, content_type=b"text/html; charset=utf-8")

    async def v2_server(self, request: Request) -> Answer:
        """Open Inference Protocol: the server."""
        return json_answer(openinference.server_metadata(self.reader.artifact.version))

    async def v2_live(self, request: Request) -> Answer:
        """Open Inference Protocol: liveness."""
        return json_answer({"live": True})

    async def v2_ready(self, request: Request) -> Answer:
        """Open Inference Protocol: readiness, of the server and of its one model."""
        answer = await self.readyz(request)
        return json_answer({"ready": answer.status == 200}, status=answer.status)

    async def v2_model(self, request: Request) -> Answer:
        """Open Inference Protocol: the model's tensors."""
        return json_answer(openinference.model_metadata(self.reader.artifact.version))

    async def v2_infer(self, request: Request) -> Answer:
        """Open Inference Protocol: inference."""
        if len(request.body) <= MAX_PARSED_AT_ONCE_BYTES:
            call = openinference.parse(request)
        else:
            call = await asyncio.get_running_loop().run_in_executor(
                None, openinference.parse, request
            )
        readings = await self.reader.read_many(call.sources, request)
        for position, one in enumerate(readings):
            if isinstance(one, CropError):
                raise Problem(problem_of(one).status, f"image {position}: {one}")
        kept = [one for one in readings if isinstance(one, Reading)]
        self._count_soon(request, kept)
        decisions = [one.decision for one in kept]
        return openinference.answer(call, decisions, self.reader.artifact.version)

    def _count_soon(self, request: Request, readings: Sequence[Reading | CropError]) -> None:
        """Count what is about to be answered, once it has been."""
        total_ms = (time.perf_counter() - request.started) * 1e3
        kept = [one for one in readings if isinstance(one, Reading)]
        asyncio.get_running_loop().call_soon(self._count, request, kept, total_ms)

    def _count(self, request: Request, readings: Sequence[Reading], total_ms: float) -> None:
        """Count and trace what was answered."""
        self.telemetry.on_readings(readings, request.site, request.guard_ms)
        if readings and self.tracer.wants():
            self.tracer.record(
                readings[0],
                request_id=request.id,
                endpoint="read",
                guard_ms=request.guard_ms,
                total_ms=total_ms,
            )


def _query(request: Request) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            request.query_string.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=16,
        )
    except ValueError as error:
        raise Problem(400, f"the query string cannot be read: {error}") from error
    params = dict(pairs)
    if len(params) != len(pairs):
        raise Problem(400, "a query parameter was given twice; give each once")
    return params


def _reading_fields(decision: Decision, top_k: int) -> dict[str, Any]:
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


def _code_answer(rejected_because: str | None, candidates: list[dict[str, Any]]) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "code": candidates[0]["code"] if candidates else None,
        "confidence": candidates[0]["probability"] if candidates else 0.0,
        "accepted": rejected_because is None,
        "candidates": candidates,
    }
    if rejected_because is not None:
        answer["rejected_because"] = rejected_because
    return answer


def _top_k(request: Request) -> int:
    if not request.query_string:
        return DEFAULT_TOP_K
    text = _query(request).get("top_k", str(DEFAULT_TOP_K))
    if text not in _TOP_KS:
        raise Problem(400, f"top_k is {text[:20]!r}; give a whole number from 1 to {MAX_TOP_K}")
    return int(text)


def _pattern(request: Request) -> Pattern | None:
    text = _query(request).get("pattern")
    if text is None:
        return None
    try:
        return Pattern(text)
    except PatternError as error:
        raise Problem(
            400,
            f"{error}; a pattern is a regular expression of at most {MAX_PATTERN_CHARS} characters",
        ) from error


async def _many_sources(
    request: Request, max_files: int
) -> Sequence[bytes] | Sequence[NDArray[np.uint8]]:
    if request.content_type == FORM_TYPE:
        return await _form_files(request, None, max_files=max_files)
    return _packed(request.body, MAX_PACKED_CROPS if max_files == MAX_CROPS else max_files)


async def _form_files(request: Request, field: str | None, *, max_files: int) -> list[bytes]:
    """The files of a multipart body in order; of one field, or of all."""

    async def stream() -> Any:
        yield request.body

    headers = Headers(raw=list(request.headers.items()))
    parser = MultiPartParser(headers, stream(), max_files=max_files, max_fields=16)
    parser.spool_max_size = len(request.body) + 1  # never to a disk, which may be full
    try:
        form = await parser.parse()
    # python-multipart and starlette raise these on a body that does not follow its boundary.
    except (MultiPartException, ValueError, KeyError, AttributeError, AssertionError) as error:
        if str(error).startswith("Too many files"):
            raise Problem(
                422, f"more than {max_files} files were sent; split the request"
            ) from error
        raise Problem(400, f"the multipart body cannot be read: {error}") from error
    files = []
    try:
        for name, value in form.multi_items():
            if isinstance(value, str):
                raise Problem(400, f"the field {name[:40]!r} is text; send crops as files")
            if field is not None and name != field:
                raise Problem(400, f"the field is {name[:40]!r}; send the crop as {field!r}")
            files.append(await value.read())
    finally:
        await form.close()
    if not files:
        raise Problem(400, "the multipart body has no file; send each crop as one")
    return files


def _packed(body: bytes, max_crops: int) -> list[NDArray[np.uint8]]:
    """The crops of an .npy body: uint8 (N, H, W)."""
    stream = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, is_fortran, dtype = read_header(stream)
    # numpy reads the header by Python's own parser, which raises a dozen kinds of error.
    except Exception as error:
        raise Problem(400, f"the body is not an .npy file: {error}") from error
    if dtype != np.uint8 or is_fortran or len(shape) != 3:
        raise Problem(
            422, f"the array is {dtype} of shape {shape}; send uint8 (N, H, W) in C order"
        )
    num_crops, height, width = shape
    if not 1 <= num_crops <= max_crops:
        raise Problem(422, f"the array holds {num_crops} crops; 1 to {max_crops} are read at once")
    check_size(width, height)
    data = body[stream.tell() :]
    if len(data) != num_crops * height * width:
        raise Problem(
            400, f"the array's data has {len(data)} bytes; {num_crops * height * width} are needed"
        )
    return list(np.frombuffer(data, dtype=np.uint8).reshape(shape))
