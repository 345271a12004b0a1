"""Frames: how records are laid out in the bytes of a segment.

    marker (12)  length (u32)  crc32 of length and payload (u32)  payload

The marker is a hash of the random part of the segment's name, which no sender knows. So the next
marker after damage is a real frame, whatever pixels a sender had put into the damaged record.

Version 0.1 wrote frames that anybody can forge:

    "DGL1"  length (u32)  crc32 of the payload (u32)  payload

They are read one after the other. A damaged one is skipped only where the length in its frame
equals the one that the record's own header describes; otherwise all that follows is damaged. To
search for the next "DGL1" would find frames that a sender had put into a crop.

Knows nothing about files.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from enum import Enum, auto
from typing import Final, NamedTuple

from capture.record import described_bytes

MARKER_BYTES: Final = 12
_HEAD: Final = struct.Struct("<II")
HEAD_BYTES: Final = MARKER_BYTES + _HEAD.size
OLD_MAGIC: Final = b"DGL1"
_OLD_HEAD_BYTES: Final = len(OLD_MAGIC) + _HEAD.size
# Bytes a call. For more, zlib releases the GIL, and the thread switch costs more than the checksum
# (python -m monitoring bench).
_CHECKSUM_BYTES: Final = 4_096


class Kind(Enum):
    """What a part of a segment is."""

    RECORD = auto()  # a whole frame
    DAMAGED = auto()  # no whole frame
    TORN = auto()  # at the end: a record that a kill cut short, so it was never acknowledged


class Part(NamedTuple):
    """A part of a segment: its bytes from start to end, and where a record begins in it."""

    kind: Kind
    start: int
    payload: int
    end: int


def marker_of(name: str) -> bytes:
    """The marker of the segment with this name, such as 1795697751794550-4c2c495c82284fef."""
    noise = name.rpartition("-")[2]
    return hashlib.blake2b(noise.encode(), digest_size=MARKER_BYTES, person=b"digitline").digest()


def add_head(payload: bytes) -> bytes:
    """Put length and checksum before an encoded record: its frame without the marker."""
    length = len(payload)
    return _HEAD.pack(length, _checksum(payload, length)) + payload


def _checksum(payload: bytes | memoryview, first: int) -> int:
    if len(payload) <= _CHECKSUM_BYTES:
        return zlib.crc32(payload, first)
    for start in range(0, len(payload), _CHECKSUM_BYTES):
        first = zlib.crc32(payload[start : start + _CHECKSUM_BYTES], first)
    return first


def split(data: bytes, name: str) -> Iterator[Part]:
    """Split a segment into records and what is damaged; the parts cover it without gaps.

    Args:
        data: the whole segment.
        name: the segment's name, without suffix. If it was renamed by hand, the marker of its
            first frame is taken, if that frame is whole; a sender cannot choose what is there.
    """
    marker = marker_of(name)
    if marker not in data and _end_of_frame(data, 0, data[:MARKER_BYTES]):
        marker = data[:MARKER_BYTES]
    position = 0
    while position < len(data):
        end = _end_of_frame(data, position, marker)
        if end:
            yield Part(Kind.RECORD, position, position + HEAD_BYTES, end)
        else:
            end = data.find(marker, position + 1)
            is_last = end == -1
            end = len(data) if is_last else end
            is_torn = is_last and _is_cut_short(data[position:], marker, HEAD_BYTES)
            yield Part(Kind.TORN if is_torn else Kind.DAMAGED, position, position, end)
        position = end


def _end_of_frame(data: bytes, start: int, marker: bytes) -> int | None:
    """Where the frame at a position ends; None if it is not whole."""
    payload = start + HEAD_BYTES
    if payload > len(data) or not data.startswith(marker, start):
        return None
    length, checksum = _HEAD.unpack_from(data, start + MARKER_BYTES)
    end: int = payload + length
    if end > len(data) or _checksum(memoryview(data)[payload:end], length) != checksum:
        return None
    return end


def _is_cut_short(rest: bytes, marker: bytes, head_bytes: int) -> bool:
    """Whether these last bytes are the start of a frame, and not a whole one that is damaged."""
    if not rest.startswith(marker[: len(rest)]):
        return False
    if len(rest) < head_bytes:
        return True
    length = _HEAD.unpack_from(rest, len(marker))[0]
    described = described_bytes(rest[head_bytes:])
    return described in (None, length) and head_bytes + length > len(rest)


def split_old(data: bytes) -> Iterator[Part]:
    """Split a segment of version 0.1; the parts cover it without gaps."""
    position = 0
    while position < len(data):
        payload = position + _OLD_HEAD_BYTES
        kind, end = Kind.DAMAGED, len(data)
        if payload <= len(data):
            length, checksum = _HEAD.unpack_from(data, position + len(OLD_MAGIC))
            record = data[payload : payload + length]
            is_whole = len(record) == length
            if is_whole and data.startswith(OLD_MAGIC, position) and zlib.crc32(record) == checksum:
                kind, end = Kind.RECORD, payload + length
            elif is_whole and described_bytes(record) == length:
                end = payload + length
        if kind is Kind.DAMAGED and _is_cut_short(data[position:], OLD_MAGIC, _OLD_HEAD_BYTES):
            kind = Kind.TORN
        yield Part(kind, position, payload if kind is Kind.RECORD else position, end)
        position = end
