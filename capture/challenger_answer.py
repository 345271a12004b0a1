"""A challenger's answer to a crop, written to the spool after the champion's record of that crop.

The champion's record is on disk before its answer is sent; the challenger reads later, when there
is time. The shipper puts both into one row. Standard library only, because the service imports it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

FIRST_BYTE: Final = b"["  # a captured record begins with its version, a label event with a brace


@dataclass(frozen=True, slots=True)
class ChallengerAnswer:
    """What a challenger read; named as the fields of the record that it goes into."""

    challenger_version: str | None = None
    challenger_digit: int | None = None
    challenger_confidence: float = 0.0
    challenger_accepted: bool = False


NO_ANSWER: Final = ChallengerAnswer()


def encode(read_id: str, index: int, answer: ChallengerAnswer) -> bytes:
    """An answer as the payload of a frame."""
    return json.dumps(
        [
            read_id,
            index,
            answer.challenger_version,
            answer.challenger_digit,
            answer.challenger_confidence,
            answer.challenger_accepted,
        ]
    ).encode()


def decode(payload: bytes) -> tuple[tuple[str, int], ChallengerAnswer]:
    """(read id and crop index, the answer).

    Raises:
        ValueError: it is no answer.
    """
    try:
        read_id, index, version, digit, confidence, accepted = json.loads(payload)
        answer = ChallengerAnswer(str(version), int(digit), float(confidence), bool(accepted))
        return (str(read_id), int(index)), answer
    except (TypeError, ValueError) as error:
        raise ValueError(f"no answer of a challenger: {error}") from error
