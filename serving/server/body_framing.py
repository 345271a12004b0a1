"""Takes the body of one request out of the received bytes, and stops where the body ends.

Pure: knows nothing of sockets, or of what the body means. Each class has `is_complete`, and `take`
returns the body's bytes and the bytes behind them that it has not used.

Source:
    RFC 9112, 6.2 and 7.1.
"""

import re
from collections.abc import Callable
from typing import Final

from serving.problems import Problem

_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")
_TRAILER: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00-\x08\x0a-\x1f\x7f]*")
MAX_LINE_BYTES: Final = 1024  # chunk size with its extensions
MAX_TRAILER_BYTES: Final = 16_384
# Bytes around the chunks: sizes, extensions, line ends. A chunk takes 2 us of the event loop before
# a key is checked, so small chunks are for small bodies.
MAX_FRAMING_BYTES: Final = 2_048
MAX_FRAMING_FRAC: Final = 1 / 16


class LengthBody:
    """A body of a known length."""

    __slots__ = ("_left", "is_complete")

    def __init__(self, length: int) -> None:
        self._left = length
        self.is_complete = length == 0

    def take(self, received: bytes) -> tuple[bytes, bytes]:
        """Split the received bytes into those of the body and those behind it."""
        if len(received) <= self._left:
            part, rest = received, b""
        else:
            part, rest = received[: self._left], received[self._left :]
        self._left -= len(part)
        self.is_complete = not self._left
        return part, rest


_Step = Callable[["ChunkedBody", bytes, int, list[bytes]], int]


class ChunkedBody:
    """A body in chunks. Extensions and trailers are checked and dropped."""

    __slots__ = ("_chunk_left", "_num_body", "_num_framing", "_num_trailer", "_step", "is_complete")

    def __init__(self) -> None:
        self.is_complete = False
        # What comes next. Not a bound method, which would be a reference cycle.
        self._step: _Step = ChunkedBody._take_size
        self._chunk_left = 0
        self._num_body = self._num_framing = self._num_trailer = 0

    def take(self, received: bytes) -> tuple[bytes, bytes]:
        """Split the received bytes into those of the body and those not used yet.

        Raises:
            Problem: 400, the chunks are malformed or too small; 431, the trailers are too large.
        """
        parts: list[bytes] = []
        position, before = 0, -1
        while position != before and not self.is_complete:
            if self._num_framing > MAX_FRAMING_BYTES + self._num_body * MAX_FRAMING_FRAC:
                raise _malformed("the body has too many small chunks or too long extensions")
            before = position
            position = self._step(self, received, position, parts)
        return b"".join(parts), received[position:]

    def _take_size(self, received: bytes, position: int, _parts: list[bytes]) -> int:
        line_end = _find_line_end(received, position, MAX_LINE_BYTES, "a chunk's size")
        if line_end < 0:
            return position
        found = _SIZE_LINE.fullmatch(received, position, line_end)
        if found is None:
            raise _malformed("a chunk's size is not a hexadecimal number")
        self._chunk_left = int(found[1], 16)
        self._step = ChunkedBody._take_data if self._chunk_left else ChunkedBody._take_trailer
        self._num_framing += line_end + 4 - position  # with the line end behind the data
        return line_end + 2

    def _take_data(self, received: bytes, position: int, parts: list[bytes]) -> int:
        part = received[position : position + self._chunk_left]
        if part:
            parts.append(part)
            self._num_body += len(part)
            self._chunk_left -= len(part)
        if not self._chunk_left:
            self._step = ChunkedBody._take_data_end
        return position + len(part)

    def _take_data_end(self, received: bytes, position: int, _parts: list[bytes]) -> int:
        line_end = received[position : position + 2]
        if not b"\r\n".startswith(line_end):
            raise _malformed("a chunk is longer than its size says")
        if len(line_end) < 2:
            return position
        self._step = ChunkedBody._take_size
        return position + 2

    def _take_trailer(self, received: bytes, position: int, _parts: list[bytes]) -> int:
        left = MAX_TRAILER_BYTES - self._num_trailer
        line_end = _find_line_end(received, position, left, "the trailer", status=431)
        if line_end < 0:
            return position
        if line_end == position:
            self.is_complete = True
        elif _TRAILER.fullmatch(received, position, line_end) is None:
            raise _malformed("a trailer is not 'NAME: VALUE'")
        self._num_trailer += line_end + 2 - position
        return line_end + 2


def _find_line_end(received: bytes, position: int, limit: int, what: str, status: int = 400) -> int:
    """Where the CRLF of a line is; negative: not received yet.

    Raises:
        Problem: the line is longer than the limit.
    """
    line_end = received.find(b"\r\n", position, position + limit + 2)
    if line_end < 0:
        if len(received) - position > limit:
            detail = f"{what} has more than {limit} bytes; send fewer"
            raise Problem(status, detail, closes_connection=True)
        if b"\n" in received[position:]:
            raise _malformed(f"{what} has a line feed without a carriage return")
    return line_end


def _malformed(detail: str) -> Problem:
    return Problem(400, detail, closes_connection=True)
