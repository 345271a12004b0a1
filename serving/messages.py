"""What handlers take and give: one request with its body, one answer. Knows no sockets."""

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

import orjson

JSON: Final = b"application/json"
Headers = tuple[tuple[bytes, bytes], ...]
Scope = Literal["predict", "label", "admin"]  # what a key allows, and a route asks for


class Request(NamedTuple):  # a frozen dataclass takes three times as long to make
    """One request that the guard has let in."""

    id: str
    site: str
    content_type: str  # lower case, without parameters
    headers: Mapping[bytes, bytes]  # lower-case names
    query_string: bytes
    body: bytes
    started: float  # time.perf_counter() at arrival
    guard_ms: float  # arrival until the body was complete


class Answer(NamedTuple):
    """One answer, complete."""

    body: bytes
    status: int = 200
    content_type: bytes = JSON
    headers: Headers = ()


def json_answer(content: Any, status: int = 200) -> Answer:
    """An answer of JSON content."""
    return Answer(orjson.dumps(content), status)
