"""Forwards the paths that BentoML's own application answers, after the same checks as ours."""

from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Final

import numpy as np
import orjson
from starlette.types import ASGIApp, Message, Receive, Scope

from serving.api.tensor_schemas import MAX_JSON_IMAGES
from serving.api.tensors import SIDE_PX, numbers, parse_json
from serving.api.turns import MAX_AT_ONCE_S, json_s
from serving.edge.edge import Forward
from serving.messages import JSON, Answer
from serving.problems import Problem, bento_problem
from serving.route import JSON_TYPE, Route

# BentoML's client fetches the schema, then calls. BentoML's other paths are not reachable: its
# index page loads scripts from other hosts, and its health and metrics are not ours.
ROUTES: Final[dict[str, Route]] = {
    "/schema.json": Route("bentoml", "GET", None),
    "/classify": Route("bentoml", "POST", None, content_types=(JSON_TYPE,), is_bulk=True),
}


def forwarding(bento: ASGIApp, wait_turn: Callable[[Hashable, float], Awaitable[None]]) -> Forward:
    """What the edge calls for the routes without a handler.

    Args:
        bento: BentoML's application.
        wait_turn: waits until it is the turn of a sender whose request costs so many seconds.
    """

    async def forward(
        scope: Scope, kind: str, body: bytes, receive: Receive, sender: Hashable
    ) -> Answer:
        if (parse_s := json_s(body)) > MAX_AT_ONCE_S:
            await wait_turn(sender, parse_s)
        return await ask_bento(bento, scope, kind, body, receive)

    return forward


async def ask_bento(
    bento: ASGIApp, scope: Scope, kind: str, body: bytes, receive: Receive
) -> Answer:
    """Forward a request and return BentoML's answer.

    BentoML gets the images that were read here, written anew, and no header of the sender: it
    answers 500 to JSON of other shapes, and reads the body by headers of its own.

    Args:
        bento: BentoML's application.
        scope: ASGI's, of the request.
        kind: the checked content type; empty if the path takes no body.
        body: already read.
        receive: ASGI's, for what comes after the body.

    Raises:
        Problem: the body is not {"images": (N, 28, 28) numbers}, or BentoML refused.
    """
    headers: list[tuple[bytes, bytes]] = []
    if kind:
        body = _images_only(body)
        headers = [
            (b"content-type", kind.encode()),
            (b"content-length", str(len(body)).encode()),
        ]
    start: dict[str, Any] = {}
    answered = bytearray()

    async def collect(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            answered.extend(message.get("body", b""))

    forwarded = {**scope, "headers": headers, "query_string": b""}
    await bento(forwarded, _replay(body, receive), collect)
    if start["status"] >= 400:
        raise bento_problem(start["status"], bytes(answered))
    answered_type = dict(start["headers"]).get(b"content-type", JSON)
    return Answer(bytes(answered), start["status"], answered_type)


def _images_only(body: bytes) -> bytes:
    """The body of /classify with its images only, as float32.

    Raises:
        Problem: it is not {"images": numbers of shape (N, 28, 28)}, N from 1 to 256.
    """
    # BentoML's client writes NaN and Infinity, which JSON does not have. Every number outside of
    # [0, 1] means the same to the model: this is no image.
    content = parse_json(body.replace(b"NaN", b"2.0").replace(b"Infinity", b"2.0"))
    if not isinstance(content, dict) or set(content) != {"images"}:
        raise Problem(400, 'the body must be a JSON object with "images", and nothing else')
    images = content["images"]
    values = numbers(images if isinstance(images, list) else [])
    if values.shape[1:] != (SIDE_PX, SIDE_PX) or len(values) > MAX_JSON_IMAGES:
        raise Problem(
            400,
            f"images has the shape {list(values.shape)[:8]}; send [N, 28, 28], N from 1 to "
            f"{MAX_JSON_IMAGES}",
        )
    pixels = np.clip(values, -1.0, 2.0).astype(np.float32)  # JSON cannot carry float32's infinity
    return orjson.dumps({"images": pixels}, option=orjson.OPT_SERIALIZE_NUMPY)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that returns a body that was already read."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
