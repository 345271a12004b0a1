"""Forwards the paths that BentoML's own application answers, after the same checks as ours."""

from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope

from serving.api.routes import JSON_TYPE, Route
from serving.api.tensors import check_json
from serving.messages import JSON, Answer
from serving.problems import bento_problem

# BentoML's client fetches the schema, then calls. BentoML's other paths are not reachable: its
# index page loads scripts from other hosts, and its health and metrics are not ours.
ROUTES: Final = {
    "/schema.json": Route("bentoml", "GET", None),
    "/classify": Route("bentoml", "POST", None, content_types=(JSON_TYPE,), is_bulk=True),
}


async def ask_bento(
    bento: ASGIApp, scope: Scope, kind: str, body: bytes, receive: Receive
) -> Answer:
    """Forward a request and return BentoML's answer.

    BentoML gets only the content type that was checked. If the header is repeated, BentoML would
    use another value.

    Args:
        bento: BentoML's application.
        scope: ASGI's, of the request.
        kind: the checked content type; empty if the path takes no body.
        body: already read; it is replayed to BentoML.
        receive: ASGI's, for what comes after the body.

    Raises:
        Problem: BentoML refused.
    """
    check_json(body)
    headers = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
    if kind:
        headers.append((b"content-type", kind.encode()))
    start: dict[str, Any] = {}
    answered = bytearray()

    async def collect(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            answered.extend(message.get("body", b""))

    await bento({**scope, "headers": headers}, _replay(body, receive), collect)
    if start["status"] >= 400:
        raise bento_problem(start["status"], bytes(answered))
    answered_type = dict(start["headers"]).get(b"content-type", JSON)
    return Answer(bytes(answered), start["status"], answered_type)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that returns a body that was already read."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
