"""Work that grows with a body runs in its sender's turn, on the model's thread.

It would stop the event loop for all senders. Small bodies are handled at once, which takes less
time than a change of threads.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from serving.messages import Answer, Request
from serving.reading.reader import Reader

Value = TypeVar("Value")

MAX_AT_ONCE_S: Final = 0.0004  # ten small files in a form, or one image in JSON
MAX_AT_ONCE_RESULTS: Final = 64
_LOOKED_AT_BYTES: Final = 65_536  # of a body, on the event loop; a larger one takes a turn anyway
_TURN_S: Final = 0.0005  # of a body that is not looked at as a whole
_JSON_S_PER_BYTE: Final = 2e-8  # 8 ms for 400 KB of numbers
_S_PER_LIST: Final = 2e-7
_S_PER_PART: Final = 2e-5  # of a form
_BYTES_S_PER_BYTE: Final = 2e-9  # forms and .npy files, of which only the frame is parsed
_S_PER_RESULT: Final = 5e-6


def json_s(body: bytes) -> float:
    """Predicted seconds to parse a JSON body."""
    num_lists = _estimate_count(body, b"[") + _estimate_count(body, b"{")
    return len(body) * _JSON_S_PER_BYTE + num_lists * _S_PER_LIST


def form_s(body: bytes) -> float:
    """Predicted seconds to parse a form, or another body of which only a frame is parsed."""
    turn_s = _TURN_S if len(body) > _LOOKED_AT_BYTES else 0.0
    num_parts = _estimate_count(body, b"\r\n--")
    return turn_s + len(body) * _BYTES_S_PER_BYTE + num_parts * _S_PER_PART


def _estimate_count(body: bytes, pattern: bytes) -> float:
    """How often a pattern occurs, by the first 64 KB: counting in 8 MB takes 7 ms."""
    if len(body) <= _LOOKED_AT_BYTES:
        return body.count(pattern)
    return body.count(pattern, 0, _LOOKED_AT_BYTES) * len(body) / _LOOKED_AT_BYTES


async def parse_in_turn(
    reader: Reader, request: Request, parse: Callable[[Request], Value], parse_s: float
) -> Value:
    """What `parse` returns for a request.

    Args:
        reader: has the turns.
        request: whose sender is charged.
        parse: may raise.
        parse_s: predicted seconds.

    Raises:
        Overloaded: the answer would be too late.
        Exception: what `parse` raises.
    """
    if parse_s <= MAX_AT_ONCE_S:
        return parse(request)
    return await reader.in_turn(partial(parse, request), request, parse_s)


async def answer_in_turn(
    reader: Reader, request: Request, num_results: int, build: Callable[[], Answer]
) -> Answer:
    """The answer that `build` makes of so many results. It is not refused: the work is done."""
    if num_results <= MAX_AT_ONCE_RESULTS:
        return build()
    return await reader.in_turn(build, request, num_results * _S_PER_RESULT, is_admitted=True)
