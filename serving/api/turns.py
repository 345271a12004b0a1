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

MAX_AT_ONCE_BYTES: Final = 65_536
MAX_AT_ONCE_RESULTS: Final = 64
JSON_S_PER_BYTE: Final = 2e-8  # 8 ms for 400 KB of numbers
_BYTES_S_PER_BYTE: Final = 2e-9  # forms and .npy files, of which only the frame is parsed
_S_PER_RESULT: Final = 5e-6


async def parse_in_turn(
    reader: Reader, request: Request, parse: Callable[[Request], Value], *, is_json: bool = False
) -> Value:
    """What `parse` returns for a request.

    Raises:
        Overloaded: the answer would be too late.
        Exception: what `parse` raises.
    """
    num_bytes = len(request.body)
    if num_bytes <= MAX_AT_ONCE_BYTES:
        return parse(request)
    parse_s = num_bytes * (JSON_S_PER_BYTE if is_json else _BYTES_S_PER_BYTE)
    return await reader.in_turn(partial(parse, request), request, parse_s)


async def answer_in_turn(
    reader: Reader, request: Request, num_results: int, build: Callable[[], Answer]
) -> Answer:
    """The answer that `build` makes of so many results. It is not refused: the work is done."""
    if num_results <= MAX_AT_ONCE_RESULTS:
        return build()
    return await reader.in_turn(build, request, num_results * _S_PER_RESULT, is_admitted=True)
