"""`python -m serving --app examples.text_pattern.service:build`: products in, sections out."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from examples.text_pattern.product_text import (
    MAX_DESCRIPTION,
    MAX_NAME,
    Product,
    drift_features,
    to_text,
)
from examples.text_pattern.section_model import CHAMPION, RULES, Section, SectionModel, load_model
from model.errors import ModelError
from serving.compose import compose
from serving.config import Settings
from serving.edge.edge import Edge
from serving.messages import Answer, Request, json_answer
from serving.problems import Problem
from serving.reading.answerer import Answerer, Kind, Recorded
from serving.route import JSON_TYPE, Route

MAX_PRODUCTS: Final = 256  # in one request
LIMITS: Final = {"name": MAX_NAME, "description": MAX_DESCRIPTION}


class Item(NamedTuple):
    """One product, and its text."""

    product: Product
    text: str


Sections = Answerer[Item, Section, SectionModel]


def build() -> Edge[SectionModel]:
    """Build the application of one worker. Raises as `compose`."""
    return compose(
        kind=Kind(
            run=lambda model, items: model.classify([one.text for one in items]),
            golden=lambda model: _item(model.manifest["golden"]["product"]),
            check_golden=_check_golden,
            recorded=_recorded,
            item_s=2e-4,  # of one text in a batch of 32
            max_batch_s=0.006,
        ),
        rules=RULES,
        load=load_model,
        shipped=CHAMPION,
        build_routes=_build_routes,
    )


def _build_routes(sections: Sections, settings: Settings) -> Mapping[str, Route[SectionModel]]:
    async def answer(request: Request[SectionModel]) -> Answer:
        items = parse(request.body)
        answers = await sections.answer(items, request)
        return json_answer([one._asdict() for one in answers])

    async def model(request: Request[SectionModel]) -> Answer:
        served = request.model
        known = {name: served.manifest[name] for name in ("metrics", "classes", "created")}
        limits = {"products": MAX_PRODUCTS, **LIMITS, "body_bytes": settings.max_body_bytes}
        identity = {"version": served.version, "sha256": served.sha256}
        return json_answer({**identity, **known, "limits": limits})

    return {
        "/v1/sections": Route("sections", "POST", answer, content_types=(JSON_TYPE,)),
        "/v1/model": Route("model", "GET", model),
    }


def parse(body: bytes) -> list[Item]:
    """The products of a body.

    Raises:
        Problem: 400 where it is no list of products, 422 where a product cannot be used.
    """
    try:
        rows = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"the body is not JSON: {error}") from error
    if not isinstance(rows, list) or not 1 <= len(rows) <= MAX_PRODUCTS:
        found = f"a list of {len(rows)}" if isinstance(rows, list) else type(rows).__name__
        raise Problem(400, f"the body is {found}; send a list of 1 to {MAX_PRODUCTS} products")
    mistakes = [mistake for place, row in enumerate(rows) if (mistake := _mistake(place, row))]
    if mistakes:
        raise Problem(422, f"{len(mistakes)} products cannot be used", rows=mistakes[:20])
    return [_item(row) for row in rows]


def _mistake(place: int, row: Any) -> dict[str, Any] | None:
    """What is wrong with one row of the body; None: nothing."""
    if not isinstance(row, dict):
        return {"row": place, "value": str(row)[:40], "remedy": "send an object"}
    for field, limit in LIMITS.items():
        value = row.get(field)
        if not isinstance(value, str) or not value.strip() or len(value) > limit:
            remedy = f"write 1 to {limit} characters"
            return {"row": place, "field": field, "value": str(value)[:40], "remedy": remedy}
    return None


def _item(row: Mapping[str, str]) -> Item:
    product = Product(row["name"], row["description"])
    return Item(product, to_text(product))


def _check_golden(model: SectionModel, answer: Section) -> None:
    expected = model.manifest["golden"]
    if answer.section != expected["section"] or answer.confidence < expected["min_confidence"]:
        raise ModelError(
            f"the golden product is of {answer.section} at {answer.confidence:.3f}; "
            f"{expected['section']} at >= {expected['min_confidence']} is expected"
        )


def _recorded(item: Item, answer: Section) -> Recorded:
    product = {"name": item.product.name, "description": item.product.description}
    return Recorded(
        answer=answer.section,
        confidence=answer.confidence,
        features=drift_features(item.product, item.text),
        content=orjson.dumps(product),
    )
