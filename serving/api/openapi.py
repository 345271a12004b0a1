"""The API described: OpenAPI 3.1 as JSON, and as a page that loads nothing from elsewhere."""

import html
import json
from functools import cache
from typing import Any, Final

import orjson
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serving.api import schemas
from serving.problems import TITLES

_MODELS: Final[tuple[type[BaseModel], ...]] = (
    schemas.DigitAnswer,
    schemas.DigitsAnswer,
    schemas.PostcodeAnswer,
    schemas.ModelAnswer,
    schemas.StatusAnswer,
    schemas.ProblemAnswer,
    schemas.InferRequest,
    schemas.InferAnswer,
)
_REF: Final = "#/components/schemas/{model}"
_BINARY: Final = {"type": "string", "format": "binary"}
_COMMON: Final = (401, 403, 429, 431, 503, 504)
_BODY: Final = (400, 408, 413, 415, 422)
_TOP_K: Final = {
    "name": "top_k",
    "in": "query",
    "description": "How many candidates to answer with.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 5, "default": 5},
}
_PATTERN: Final = {
    "name": "pattern",
    "in": "query",
    "description": "A regular expression (RE2) that the whole code must match.",
    "schema": {"type": "string", "maxLength": 64},
    "example": "[1-9][0-9]{4}",
}
_REQUEST_ID: Final = {
    "name": "X-Request-Id",
    "in": "header",
    "description": "Your id for this request, 1 to 64 of A-Z a-z 0-9 . _ -; else one is made.",
    "schema": {"type": "string"},
}


@cache
def to_json(version: str) -> bytes:
    """The OpenAPI 3.1 document."""
    return orjson.dumps(describe(version))


def describe(version: str) -> dict[str, Any]:
    """What the document says."""
    _, definitions = models_json_schema(
        [(model, "serialization") for model in _MODELS], ref_template=_REF
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Digitline",
            "version": version,
            "summary": "Reads single handwritten digits for postal sorting.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _paths(),
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
    many = _form({"crop": {"type": "array", "items": _BINARY}}, ["crop"])
    packed = {"application/x-npy": {"schema": _BINARY}}
    return {
        "/v1/digit": {
            "post": _post("Read one crop", {**images, **one_file}, "DigitAnswer", [_TOP_K])
        },
        "/v1/digits": {
            "post": _post(
                "Read up to 256 files, or 1024 packed crops",
                {**many, **packed},
                "DigitsAnswer",
                [_TOP_K],
            )
        },
        "/v1/postcode": {
            "post": _post(
                "Read 2 to 12 digit crops, in order, as one postcode",
                {**many, **packed},
                "PostcodeAnswer",
                [_PATTERN],
            )
        },
        "/v1/model": {"get": _get("What is served, and within which limits", "ModelAnswer")},
        "/livez": {"get": _get("The process answers", "StatusAnswer", secured=False)},
        "/readyz": {
            "get": _get(
                "A golden crop is read right", "StatusAnswer", secured=False, not_ready=True
            )
        },
        "/v2/models/digits/infer": {
            "post": _post(
                "Open Inference Protocol v2",
                {"application/json": {"schema": _ref("InferRequest")}},
                "InferAnswer",
                [],
            )
        },
    }


def _ref(model: str) -> dict[str, str]:
    return {"$ref": _REF.format(model=model)}


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
        "responses": _responses(answer, _COMMON if secured else (431,)),
    }
    if not_ready:
        operation["responses"]["503"] = {
            "description": "Not ready; the reasons say why",
            "content": {"application/json": {"schema": _ref(answer)}},
        }
    if not secured:
        operation["security"] = [{}]
    return operation


def _responses(answer: str, problems: tuple[int, ...]) -> dict[str, Any]:
    headers = {name: {"schema": {"type": "string"}} for name in ("X-Request-Id", "X-Model-Version")}
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


_STYLE: Final = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:0 auto;padding:1rem}
h2{margin-top:2.5rem;border-bottom:1px solid #8884}code,pre{font:14px/1.45 ui-monospace,monospace}
pre{background:#8881;padding:.75rem;overflow-x:auto;border-radius:6px}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .5rem;
border-bottom:1px solid #8883;vertical-align:top}
.m{font-weight:700;padding:.1rem .5rem;border-radius:4px;background:#2a6df422}
"""


@cache
def to_page(version: str) -> bytes:
    """The same as one HTML page."""
    spec = describe(version)
    sections = [
        _section(path, method, operation)
        for path, methods in spec["paths"].items()
        for method, operation in methods.items()
    ]
    shapes = [
        f"<h3 id='{name}'>{name}</h3><p>{html.escape(shape.get('description', ''))}</p>"
        f"{_properties(shape)}"
        for name, shape in spec["components"]["schemas"].items()
    ]
    title = html.escape(f"{spec['info']['title']}: {spec['info']['summary']}")
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<style>{_STYLE}</style><h1>{title}</h1>"
        f"<p>Model version {html.escape(spec['info']['version'])}. "
        "Machine-readable: <a href=/openapi.json>/openapi.json</a>.</p>"
        "<pre>curl --data-binary @crop.png -H 'content-type: image/png' \\\n"
        "  http://localhost:3000/v1/digit</pre>"
        f"{''.join(sections)}<h2>Shapes</h2>{''.join(shapes)}</html>"
    )
    return page.encode()


def _section(path: str, method: str, operation: dict[str, Any]) -> str:
    body = operation.get("requestBody", {}).get("content", {})
    sends = f"<p>Send: {', '.join(f'<code>{kind}</code>' for kind in body)}</p>" if body else ""
    params = "".join(
        f"<tr><td><code>{one['name']}</code><td>{one['in']}<td>{html.escape(one['description'])}"
        for one in operation["parameters"]
    )
    answers = "".join(
        f"<tr><td>{status}<td>{html.escape(one['description'])}<td>{_link(one)}"
        for status, one in operation["responses"].items()
    )
    return (
        f"<h2><span class=m>{method.upper()}</span> <code>{path}</code></h2>"
        f"<p>{html.escape(operation['summary'])}.</p>{sends}"
        f"<table>{params}</table><p></p><table>{answers}</table>"
    )


def _link(response: dict[str, Any]) -> str:
    for content in response.get("content", {}).values():
        name = content["schema"]["$ref"].rpartition("/")[2]
        return f"<a href='#{name}'>{name}</a>"
    return ""


def _kind(one: dict[str, Any]) -> str:
    """A member's type in words: "integer or null", "list of Candidate"."""
    if "anyOf" in one:
        return " or ".join(_kind(option) for option in one["anyOf"])
    if one.get("type") == "array":
        return f"list of {_kind(one['items'])}"
    if "enum" in one:
        return " or ".join(map(json.dumps, one["enum"]))
    return str(one.get("type") or one.get("$ref", "").rpartition("/")[2] or "anything")


def _properties(shape: dict[str, Any]) -> str:
    rows = []
    for name, one in shape.get("properties", {}).items():
        kind = _kind(one)
        meaning = html.escape(str(one.get("description", "")))
        examples = ", ".join(
            html.escape(json.dumps(example)) for example in one.get("examples", [])
        )
        rows.append(f"<tr><td><code>{name}</code><td>{kind}<td>{meaning}<td>{examples}")
    return f"<table>{''.join(rows)}</table>" if rows else ""
