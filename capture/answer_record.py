"""The record of one answer of another model than the digit reader, whose own is capture.record.

    0xFF  length of the header (u32)  header: JSON  content as sent

Standard library only, because the service imports it. Knows nothing about files, or about what an
answer means.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

FIRST_BYTE: Final = b"\xff"  # a digit's record begins with its version, events with { or [
_LENGTH: Final = struct.Struct("<I")
_HEAD_BYTES: Final = len(FIRST_BYTE) + _LENGTH.size


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRecord:
    """One answered item. `read_id` and `index` together are the key."""

    read_id: str
    request_id: str
    index: int  # place of the item in its request, from 0
    time_us: int  # when it was answered, microseconds since 1970
    site: str
    model_version: str
    answer: str  # what was answered, most of all; the class that drift compares
    confidence: float
    features: Mapping[str, float]  # of the input, whose drift is measured
    total_ms: float  # from the request's first byte to capture
    content_type: str
    content: bytes  # the input as sent; empty where originals are not kept


def encode(record: AnswerRecord) -> bytes:
    """Lay a record out as the payload of a frame."""
    fields = {name: getattr(record, name) for name in _HEADER}
    fields["features"] = dict(record.features)
    header = json.dumps(fields, ensure_ascii=False).encode(errors="replace")
    return b"".join((FIRST_BYTE, _LENGTH.pack(len(header)), header, record.content))


def decode(payload: bytes) -> AnswerRecord:
    """Read what `encode` wrote; fields that a later version added are left out.

    Raises:
        ValueError: it is no such record.
    """
    try:
        start = _HEAD_BYTES + _LENGTH.unpack_from(payload, len(FIRST_BYTE))[0]
        fields: dict[str, Any] = json.loads(payload[_HEAD_BYTES:start])
        named = {name: fields[name] for name in _HEADER}
        return AnswerRecord(content=payload[start:], **named)
    except (struct.error, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{len(payload)} bytes are no record of an answer: {error!r}") from error


_HEADER: Final = tuple(
    name for name in AnswerRecord.__dataclass_fields__ if name != "content"
)  # of the header, in their order
