"""The OpenAPI 3.1 document, made from the schemas."""

from functools import cache
from typing import Any, Final

import orjson
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from contract.version import VERSION
from serving.api import schemas, tensor_schemas
from serving.api.codes import MAX_DIGITS, MAX_PATTERN_CHARS, MIN_DIGITS
from serving.api.digits import MAX_CROPS
from serving.api.letter_deadline import MAX_MS
from serving.problems import TITLES

_MODELS: Final[tuple[type[BaseModel], ...]] = (
    schemas.DigitAnswer,
    schemas.DigitsAnswer,
    schemas.PostcodeAnswer,
    schemas.FieldAnswer,
    schemas.ExplainAnswer,
    schemas.ModelAnswer,
    schemas.SitesAnswer,
    schemas.SiteAnswer,
    schemas.LabelRequest,
    schemas.LabelsRequest,
    schemas.LabelsAnswer,
    schemas.StatusAnswer,
    schemas.ProblemAnswer,
    tensor_schemas.InferRequest,
    tensor_schemas.InferAnswer,
)
_REF: Final = "#/components/schemas/{model}"
_BINARY: Final = {"type": "string", "format": "binary"}
_COMMON: Final = (401, 403, 429, 431, 503, 504)
_BODY: Final = (400, 408, 413, 415, 422)
_TOP_K: Final = {
    "name": "top_k",
    "in": "query",
    "description": "Number of candidates in the answer.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 5, "default": 5},
}
_PATTERN: Final = {
    "name": "pattern",
    "in": "query",
    "description": "A regular expression (RE2) that the whole code must match, as [1-9][0-9]{4}.",
    "schema": {"type": "string", "format": "regex", "maxLength": MAX_PATTERN_CHARS},
}
_DIGITS: Final = {
    "name": "digits",
    "in": "query",
    "description": (
        "How many digits the code has: a number from 2 to 12, or a range as 5-9. Without it, as "
        "many as the codes of the operator's directory have; without one, 4-10."
    ),
    "schema": {"type": "string", "pattern": "^([2-9]|1[0-2])(-([2-9]|1[0-2]))?$"},
    "example": "5",
}
_HEADER_LENGTH: Final = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "description": "The bytes of JSON before the binary tensors; without it, the body is JSON.",
    "schema": {"type": "integer", "minimum": 0, "maximum": 999_999_999},
}
_SITE_NAME: Final = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "The site, as GET /v1/sites shows it; percent-encoded.",
    "schema": {"type": "string", "minLength": 1},
}
_READS: Final = ("DigitAnswer", "DigitsAnswer", "PostcodeAnswer", "FieldAnswer", "InferAnswer")
_REQUEST_ID: Final = {
    "name": "X-Request-Id",
    "in": "header",
    "description": (
        "Your id for this request: 1 to 64 characters of A-Z a-z 0-9 . _ -. "
        "Without one, the service makes an id."
    ),
    "schema": {"type": "string"},
}
_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": (
        "A version 7 UUID of now, the same when the request is sent again within 180 s: then it is "
        "recorded once. Another value is ignored."
    ),
    "schema": {"type": "string"},
}
_DEADLINE: Final = {
    "name": "X-Deadline-Ms",
    "in": "header",
    "description": (
        "How long the letter waits for an answer, also for a person's at the console, in "
        "milliseconds from the request's arrival. Without one, it does not wait."
    ),
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_MS},
}

# path -> what a generated client calls the operation, and its group.
_NAMES: Final = {
    "/v1/digit": ("read_digit", "reads"),
    "/v1/digits": ("read_digits", "reads"),
    "/v1/postcode": ("read_postcode", "reads"),
    "/v1/field": ("read_field", "reads"),
    "/v1/explain": ("explain_digits", "reads"),
    "/v1/labels": ("store_labels", "labels"),
    "/v1/model": ("get_model", "service"),
    "/v1/sites": ("list_sites", "sites"),
    "/v1/sites/{name}/release": ("release_site", "sites"),
    "/livez": ("get_liveness", "service"),
    "/readyz": ("get_readiness", "service"),
    "/v2/models/digits/infer": ("infer", "open_inference"),
}


@cache
def to_json() -> bytes:
    """The OpenAPI 3.1 document."""
    return orjson.dumps(describe())


def describe() -> dict[str, Any]:
    """The document as a dict."""
    _, definitions = models_json_schema(
        [(model, "serialization") for model in _MODELS], ref_template=_REF
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Digitline",
            "version": VERSION,
            "summary": "Reads handwritten postcodes and digits for postal sorting.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _named(_paths()),
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
            },
        },
        "security": [{}, {"bearer": []}, {"key": []}],
    }


def _paths() -> dict[str, Any]:
    images = {"image/png": {"schema": _BINARY}, "image/jpeg": {"schema": _BINARY}}
    one_file = _form({"image": _BINARY}, ["image"])
    packed = {"application/x-npy": {"schema": _BINARY}}
    return {
        "/v1/digit": {
            "post": _post(
                "Read one crop",
                {**images, **one_file},
                "DigitAnswer",
                [_TOP_K, _DEADLINE, _IDEMPOTENCY_KEY],
            )
        },
        "/v1/digits": {
            "post": _post(
                "Read up to 256 files, or 1024 packed crops",
                {**_many(1, MAX_CROPS), **packed},
                "DigitsAnswer",
                [_TOP_K, _IDEMPOTENCY_KEY],
            )
        },
        "/v1/postcode": {
            "post": _post(
                "Read 2 to 12 digit crops, in order, as one postcode",
                {**_many(MIN_DIGITS, MAX_DIGITS), **packed},
                "PostcodeAnswer",
                [_PATTERN, _DEADLINE, _IDEMPOTENCY_KEY],
            )
        },
        "/v1/field": {
            "post": _post(
                "Find the digits in the image of a whole field, and read them as one postcode",
                {**images, **one_file},
                "FieldAnswer",
                [_DIGITS, _PATTERN, _DEADLINE, _IDEMPOTENCY_KEY],
            )
        },
        "/v1/explain": {
            "post": _post(
                "Read and explain 1 to 12 crops, or with `digits` the image of a field, one "
                "request at a time; nothing is recorded",
                {**images, **_many(1, MAX_DIGITS)},
                "ExplainAnswer",
                [_TOP_K, _DIGITS, _PATTERN],
            )
        },
        "/v1/labels": {
            "post": {
                "summary": "Store what people keyed, all labels or none (scope label)",
                "parameters": [_REQUEST_ID],
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {"anyOf": [_ref("LabelsRequest"), _ref("LabelRequest")]}
                        }
                    },
                },
                "responses": _responses("LabelsAnswer", (400, 404, 408, 413, 415, *_COMMON)),
            }
        },
        "/v1/model": {"get": _get("The served model and its input limits", "ModelAnswer")},
        "/v1/sites": {"get": _get("Which sites are trusted (scope admin)", "SitesAnswer")},
        "/v1/sites/{name}/release": {
            "post": {
                "summary": "Trust a site again (scope admin)",
                "parameters": [_SITE_NAME, _REQUEST_ID],
                "responses": _responses("SiteAnswer", (400, 404, *_COMMON)),
            }
        },
        "/livez": {"get": _get("Liveness: the process answers", "StatusAnswer", secured=False)},
        "/readyz": {
            "get": _get(
                "Readiness: the golden crop is read correctly",
                "StatusAnswer",
                secured=False,
                not_ready=True,
            )
        },
        "/v2/models/digits/infer": {
            "post": _post(
                "Read images by the Open Inference Protocol v2",
                {
                    "application/json": {"schema": _ref("InferRequest")},
                    "application/octet-stream": {"schema": _BINARY},
                },
                "InferAnswer",
                [_HEADER_LENGTH, _IDEMPOTENCY_KEY],
            )
        },
    }


def _named(paths: dict[str, Any]) -> dict[str, Any]:
    """The same paths, with the names without which generators make names from the paths."""
    for path, operations in paths.items():
        name, group = _NAMES[path]
        for operation in operations.values():
            operation.update(operationId=name, tags=[group])
    return paths


def _ref(model: str) -> dict[str, str]:
    return {"$ref": _REF.format(model=model)}


def _many(least: int, most: int) -> dict[str, Any]:
    """A form with one file for each crop; its fields may have any names."""
    crops = {"type": "array", "items": _BINARY, "minItems": least, "maxItems": most}
    return _form({"crop": crops}, ["crop"])


def _form(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": required}
    return {"multipart/form-data": {"schema": schema}}


def _post(
    summary: str, content: dict[str, Any], answer: str, parameters: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "summary": summary,
        "parameters": [*parameters, _REQUEST_ID],
        "requestBody": {"required": True, "content": content},
        "responses": _responses(answer, (*_BODY, *_COMMON)),
    }


def _get(
    summary: str, answer: str, *, secured: bool = True, not_ready: bool = False
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": summary,
        "parameters": [_REQUEST_ID],
        "responses": _responses(answer, (400, *_COMMON) if secured else (400, 431)),
    }
    if not_ready:
        operation["responses"]["503"] = {
            "description": "Not ready; see reasons",
            "content": {"application/json": {"schema": _ref(answer)}},
        }
    if not secured:
        operation["security"] = [{}]
    return operation


def _responses(answer: str, problems: tuple[int, ...]) -> dict[str, Any]:
    names = ["X-Request-Id", "X-Model-Version", *(["X-Read-Id"] if answer in _READS else [])]
    headers = {name: {"schema": {"type": "string"}} for name in names}
    ok = {
        "description": "The answer",
        "headers": headers,
        "content": {"application/json": {"schema": _ref(answer)}},
    }
    refusals = {
        str(status): {
            "description": TITLES[status][1],
            "content": {"application/problem+json": {"schema": _ref("ProblemAnswer")}},
        }
        for status in sorted(problems)
    }
    return {"200": ok, **refusals}
