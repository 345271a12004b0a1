"""What a handler takes and returns: one request with its body, one answer. Knows no sockets."""

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

import orjson

JSON: Final = b"application/json"
Headers = tuple[tuple[bytes, bytes], ...]
Scope = Literal["predict", "label", "admin"]  # what a key allows, and a route asks for


class Request(NamedTuple):  # creating a frozen dataclass takes three times as long
    """One request that the edge has admitted."""

    id: str
    site: str
    content_type: str  # lower case, without parameters
    headers: Mapping[bytes, bytes]  # lower-case names
    query_string: bytes
    body: bytes
    started: float  # time.perf_counter() at arrival
    guard_ms: float  # from arrival to the complete body


class Answer(NamedTuple):
    """One complete answer."""

    body: bytes
    status: int = 200
    content_type: bytes = JSON
    headers: Headers = ()


def json_answer(content: Any, status: int = 200) -> Answer:
    """An answer with JSON content."""
    return Answer(orjson.dumps(content), status)
