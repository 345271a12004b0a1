"""`python -m serving --app examples.photo_tags.service:build`: a photo in, its tags out."""

from collections.abc import Mapping
from functools import partial
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from examples.photo_tags.photo_input import (
    MAX_AREA_PX,
    MAX_SIDE_PX,
    MIN_SIDE_PX,
    S_PER_PX,
    drift_features,
    open_photo,
    preprocess,
    read_photo,
)
from examples.photo_tags.tag_model import CHAMPION, RULES, Tag, TagModel, load_model
from model.errors import ModelError
from serving.compose import compose
from serving.config import Settings
from serving.edge.edge import Edge
from serving.messages import Answer, Request, json_answer
from serving.reading.answerer import Answerer, Kind, Recorded
from serving.route import Route

IMAGE_TYPES: Final = ("image/jpeg", "image/png")


class Item(NamedTuple):
    """One photo: as the network sees it, and as sent."""

    image: NDArray[np.float32]
    data: bytes


Tags = tuple[Tag, ...]
Tagger = Answerer[Item, Tags, TagModel]


def build() -> Edge[TagModel]:
    """Build the application of one worker. Raises as `compose`."""
    return compose(
        kind=Kind(
            run=lambda model, items: model.tag([one.image for one in items]),
            golden=lambda model: Item(read_photo(model.golden_jpg, model.scaling), b""),
            check_golden=_check_golden,
            recorded=_recorded,
            item_s=0.012,
            max_batch_s=0.1,
        ),
        rules=RULES,
        load=load_model,
        shipped=CHAMPION,
        build_routes=_build_routes,
    )


def _build_routes(tagger: Tagger, settings: Settings) -> Mapping[str, Route[TagModel]]:
    async def tags(request: Request[TagModel]) -> Answer:
        photo = open_photo(request.body)
        width, height = photo.size
        decode = partial(preprocess, photo, request.model.scaling)
        image = await tagger.in_turn(decode, request, width * height * S_PER_PX)
        found = (await tagger.answer([Item(image, request.body)], request))[0]
        return json_answer({"read_id": request.read_id, "tags": [one._asdict() for one in found]})

    async def model(request: Request[TagModel]) -> Answer:
        served = request.model
        limits = {
            "content_types": IMAGE_TYPES,
            "side_px": [MIN_SIDE_PX, MAX_SIDE_PX],
            "area_px": MAX_AREA_PX,
            "body_bytes": settings.max_body_bytes,
        }
        known = {name: served.manifest[name] for name in ("network", "metrics", "created")}
        identity = {"version": served.version, "sha256": served.sha256}
        return json_answer({**identity, **known, "limits": limits})

    return {
        "/v1/tags": Route("tags", "POST", tags, content_types=IMAGE_TYPES),
        "/v1/model": Route("model", "GET", model),
    }


def _check_golden(model: TagModel, answer: Tags) -> None:
    expected = model.manifest["golden"]
    first = answer[0]
    if first.tag != expected["tag"] or first.confidence < expected["min_confidence"]:
        raise ModelError(
            f"the golden photo shows {first.tag} at {first.confidence:.3f}; "
            f"{expected['tag']} at >= {expected['min_confidence']} is expected"
        )


def _recorded(item: Item, answer: Tags) -> Recorded:
    return Recorded(
        answer=answer[0].tag,
        confidence=answer[0].confidence,
        features=drift_features(item.image),
        content=item.data,
    )
