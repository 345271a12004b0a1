"""How much of a segment is intact, as the tests judge it."""

from dataclasses import dataclass
from pathlib import Path

from capture.frames import Kind
from capture.segments import read_bytes, split_segment


@dataclass(frozen=True, slots=True)
class SegmentEnd:
    """How much of a segment is intact."""

    num_records: int
    good_bytes: int  # up to and including the last whole frame
    bad_bytes: int  # damaged bytes before that, skipped
    torn_bytes: int  # after that: a record that a kill cut short, or damage


def measure(path: Path) -> SegmentEnd:
    """Measure how much of a segment is intact."""
    data = read_bytes(path)
    whole = [part for part in split_segment(path, data) if part.kind is Kind.RECORD]
    good = whole[-1].end if whole else 0
    return SegmentEnd(
        len(whole), good, good - sum(part.end - part.start for part in whole), len(data) - good
    )
