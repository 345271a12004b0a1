"""`python -m serving --app examples.product_similarity.service:build`: the best matches."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from examples.product_similarity.text_embedder import (
    CHAMPION,
    RULES,
    TextEmbedder,
    Vector,
    drift_features,
    load_model,
    nearest_cluster,
)
from model.errors import ModelError
from serving.compose import compose
from serving.config import Settings
from serving.edge.edge import Edge
from serving.messages import Answer, Request, json_answer
from serving.problems import Problem
from serving.reading.answerer import Answerer, Kind, Recorded
from serving.route import JSON_TYPE, Route

LIMITS: Final = {"products": 200, "queries": 50}
MAX_CHARS: Final = 2_000  # of a text
MAX_MATCHES: Final = 20
MIN_GOLDEN: Final = 0.999  # cosine of the golden text's embedding with the known one


class Embedded(NamedTuple):
    """One answer: a text's embedding, and where it lies."""

    vector: Vector
    cluster: int
    similarities: Vector


Embedder = Answerer[str, Embedded, TextEmbedder]


def build() -> Edge[TextEmbedder]:
    """Build the application of one worker. Raises as `compose`."""
    return compose(
        kind=Kind(
            run=lambda model, texts: [
                Embedded(vector, *nearest_cluster(vector, model.clusters))
                for vector in model.embed(texts)
            ],
            golden=lambda model: str(model.manifest["golden"]["text"]),
            check_golden=_check_golden,
            recorded=_recorded,
            item_s=0.002,  # of ten words in a batch of 32
            max_batch_s=0.1,
        ),
        rules=RULES,
        load=load_model,
        shipped=CHAMPION,
        build_routes=_build_routes,
    )


def _build_routes(embedder: Embedder, settings: Settings) -> Mapping[str, Route[TextEmbedder]]:
    async def matches(request: Request[TextEmbedder]) -> Answer:
        products, queries, count = parse(request.body)
        found = await embedder.answer([*products, *queries], request)
        vectors = np.stack([one.vector for one in found])
        return json_answer(best(vectors[: len(products)], vectors[len(products) :], count))

    async def model(request: Request[TextEmbedder]) -> Answer:
        served = request.model
        known = {name: served.manifest[name] for name in ("metrics", "created")}
        limits = {**LIMITS, "chars": MAX_CHARS, "body_bytes": settings.max_body_bytes}
        identity = {"version": served.version, "sha256": served.sha256}
        return json_answer({**identity, **known, "limits": limits})

    return {
        "/v1/matches": Route("matches", "POST", matches, content_types=(JSON_TYPE,)),
        "/v1/model": Route("model", "GET", model),
    }


def best(products: Vector, queries: Vector, count: int) -> list[list[dict[str, float]]]:
    """For each query the products that are most like it, the most like first."""
    similarities = queries @ products.T
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :count]
    return [
        [{"product": int(place), "similarity": float(row[place])} for place in places]
        for row, places in zip(similarities, order, strict=True)
    ]


def parse(body: bytes) -> tuple[list[str], list[str], int]:
    """Products, queries and how many matches each query gets.

    Raises:
        Problem: 400 where the body is malformed, 422 where a text cannot be used.
    """
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"the body is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise Problem(400, "send an object with products and queries")
    count = content.get("matches", 3)
    if type(count) is not int or not 1 <= count <= MAX_MATCHES:
        raise Problem(400, f"matches is {str(count)[:20]}; write 1 to {MAX_MATCHES}")
    products, queries = (_texts(content, name) for name in LIMITS)
    return products, queries, count


def _texts(content: Mapping[str, Any], name: str) -> list[str]:
    rows, limit = content.get(name), LIMITS[name]
    if not isinstance(rows, list) or not 1 <= len(rows) <= limit:
        raise Problem(400, f"{name} must be a list of 1 to {limit} texts")
    for place, row in enumerate(rows):
        if not isinstance(row, str) or not row.strip() or len(row) > MAX_CHARS:
            raise Problem(422, f"{name}[{place}] is no text of 1 to {MAX_CHARS} characters")
    return rows


def _check_golden(model: TextEmbedder, answer: Embedded) -> None:
    cosine = float(answer.vector @ np.array(model.manifest["golden"]["vector"], np.float32))
    if not cosine >= MIN_GOLDEN:
        raise ModelError(
            f"the golden text's embedding has a cosine of {cosine:.4f} with the known one; "
            f"{MIN_GOLDEN} is expected"
        )


def _recorded(text: str, answer: Embedded) -> Recorded:
    return Recorded(
        answer=f"cluster {answer.cluster}",
        confidence=float(answer.similarities[answer.cluster]),
        features=drift_features(text, answer.similarities),
        content=text.encode(errors="replace"),
    )
