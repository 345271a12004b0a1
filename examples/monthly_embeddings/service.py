"""`python -m serving --app examples.monthly_embeddings.service:build`: pictures for a text."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from examples.monthly_embeddings.search_model import (
    CHAMPION,
    MAX_MATCHES,
    RULES,
    Matches,
    SearchModel,
    drift_features,
    load_model,
)
from model.errors import ModelError
from serving.compose import compose
from serving.config import Settings
from serving.edge.edge import Edge
from serving.messages import Answer, Request, json_answer
from serving.problems import Problem
from serving.reading.answerer import Answerer, Kind, Recorded
from serving.route import JSON_TYPE, Route

MAX_TEXTS: Final = 50
MAX_CHARS: Final = 500  # of a text

Searcher = Answerer[str, Matches, SearchModel]


def build() -> Edge[SearchModel]:
    """Build the application of one worker. Raises as `compose`."""
    return compose(
        kind=Kind(
            run=lambda model, texts: model.search(texts),
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


def _build_routes(searcher: Searcher, settings: Settings) -> Mapping[str, Route[SearchModel]]:
    async def pictures(request: Request[SearchModel]) -> Answer:
        texts, count = parse(request.body)
        found = await searcher.answer(texts, request)
        return json_answer([[_shown(one) for one in matches[:count]] for matches in found])

    async def model(request: Request[SearchModel]) -> Answer:
        served = request.model
        known = {name: served.manifest[name] for name in ("month", "metrics", "created")}
        limits = {
            "texts": MAX_TEXTS,
            "chars": MAX_CHARS,
            "matches": MAX_MATCHES,
            "body_bytes": settings.max_body_bytes,
        }
        identity = {"version": served.version, "sha256": served.sha256}
        return json_answer({**identity, **known, "limits": limits})

    return {
        "/v1/pictures": Route("pictures", "POST", pictures, content_types=(JSON_TYPE,)),
        "/v1/model": Route("model", "GET", model),
    }


def _shown(match: Any) -> dict[str, Any]:
    return {**match.picture._asdict(), "similarity": match.similarity}


def parse(body: bytes) -> tuple[list[str], int]:
    """The texts, and how many pictures each gets.

    Raises:
        Problem: 400 where the body is malformed, 422 where a text cannot be used.
    """
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"the body is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise Problem(400, "send an object with texts")
    count, texts = content.get("matches", 5), content.get("texts")
    if type(count) is not int or not 1 <= count <= MAX_MATCHES:
        raise Problem(400, f"matches is {str(count)[:20]}; write 1 to {MAX_MATCHES}")
    if not isinstance(texts, list) or not 1 <= len(texts) <= MAX_TEXTS:
        raise Problem(400, f"texts must be a list of 1 to {MAX_TEXTS} texts")
    for place, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip() or len(text) > MAX_CHARS:
            raise Problem(422, f"texts[{place}] is no text of 1 to {MAX_CHARS} characters")
    return texts, count


def _check_golden(model: SearchModel, answer: Matches) -> None:
    expected = model.manifest["golden"]["name"]
    if answer[0].picture.name != expected:
        raise ModelError(f"the golden text finds {answer[0].picture.name}, not {expected}")


def _recorded(text: str, answer: Matches) -> Recorded:
    return Recorded(
        answer=answer[0].picture.month,
        confidence=answer[0].similarity,
        features=drift_features(text, answer),
        content=text.encode(errors="replace"),
    )
