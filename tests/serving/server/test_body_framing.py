"""Where a body ends: by its length and by its chunks."""

import pytest

from serving.problems import Problem
from serving.server.body_framing import (
    MAX_FRAMING_BYTES,
    MAX_LINE_BYTES,
    MAX_TRAILER_BYTES,
    ChunkedBody,
    LengthBody,
)

BEHIND = b"GET / HTTP/1.1\r\n"
WHOLE = b"5\r\nhello\r\nA;x=y\r\n, my world\r\n0\r\nX-A: b\r\n\r\n"


def take_in_parts(body, data, size):
    """The body's bytes and what is behind them, if `data` arrives in parts of this size."""
    taken, rest = b"", b""
    for start in range(0, len(data), size):
        rest += data[start : start + size]
        if not body.is_complete:
            part, rest = body.take(rest)
            taken += part
    return taken, rest


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_chunks_are_joined_however_they_arrive(size):
    body = ChunkedBody()
    assert take_in_parts(body, WHOLE + BEHIND, size) == (b"hello, my world", BEHIND)
    assert body.is_complete


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_a_body_ends_after_its_length(size):
    body = LengthBody(5)
    assert take_in_parts(body, b"hello" + BEHIND, size) == (b"hello", BEHIND)
    assert body.is_complete


@pytest.mark.parametrize("end", range(len(WHOLE)))
def test_a_chunked_body_is_incomplete_until_its_last_byte(end):
    body = ChunkedBody()
    body.take(WHOLE[:end])
    assert not body.is_complete


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"-5\r\nhello\r\n", 400),
        (b"0x5\r\nhello\r\n", 400),
        (b"\r\n", 400),
        (b"g\r\n", 400),
        (b" 5\r\nhello\r\n", 400),
        (b"5\nhello\r\n", 400),
        (b"5;a\nhello\r\n", 400),
        (b"5;a\rb\r\nhello\r\n", 400),
        (b"5\r\nhellox\r\n", 400),
        (b"5\r\nhello\n0\r\n", 400),
        (b"f" * 16 + b"\r\n", 400),
        (b"0" * (MAX_LINE_BYTES + 1), 400),
        (b"5;" + b"a" * MAX_LINE_BYTES + b"\r\nhello\r\n", 400),
        (b"0\r\nno colon\r\n\r\n", 400),
        (b"0\r\nX-A : b\r\n\r\n", 400),
        (b"0\r\nX-A: a\0b\r\n\r\n", 400),
        (b"0\r\n" + b"X-A: b\r\n" * (MAX_TRAILER_BYTES // 8 + 1) + b"\r\n", 431),
        (b"0\r\n" + b"X" * (MAX_TRAILER_BYTES + 1), 431),
        (b"1\r\nx\r\n" * (MAX_FRAMING_BYTES // 5 + 1_000), 400),
    ],
)
@pytest.mark.parametrize("size", [1_000, 1_000_000])
def test_malformed_or_wasteful_chunks_are_refused(data, status, size):
    with pytest.raises(Problem) as refused:
        take_in_parts(ChunkedBody(), data, size)
    assert refused.value.status == status
    assert refused.value.closes_connection


def test_large_chunks_of_any_number_are_taken():
    body = ChunkedBody()
    chunk = b"80\r\n" + b"x" * 128 + b"\r\n"
    taken, _ = take_in_parts(body, chunk * 20_000, 50_000)
    assert len(taken) == 128 * 20_000
