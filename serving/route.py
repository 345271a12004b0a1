"""One path of an API: its handler, and what the edge checks before it calls the handler."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic

from serving.key_scope import KeyScope
from serving.messages import Answer, Model, Request

JSON_TYPE: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Route(Generic[Model]):
    """One path: its handler, and what the edge checks first."""

    endpoint: str  # the label in metrics
    method: str
    handler: Callable[[Request[Model]], Awaitable[Answer]] | None  # None: see `serving.edge.edge`
    scope: KeyScope | None = "predict"  # None: no key needed
    content_types: tuple[str, ...] = ()  # empty: no body
    is_bulk: bool = False  # the larger body limit
    is_internal: bool = False  # 404 for requests that a proxy forwarded
