"""The archive of captured records: which key holds what, and how its files are written.

    records/day=2026-11-21/site=leeds/SEGMENT.parquet   what ship writes
    labels/HASH.parquet                                 truth that arrived later
    erased/FINGERPRINT                                  requests that must not return

Shipping is at least once, so every reader keeps one row for each (request_id, crop_index). Knows
nothing about drift.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

RECORDS: Final = "records"
LABELS: Final = "labels"
ERASED: Final = "erased"
PARQUET: Final = "application/vnd.apache.parquet"
KEY: Final = ["request_id", "crop_index"]


@dataclass(frozen=True, slots=True)
class Window:
    """Days from first to last, both included."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"{self}: the last day is before the first")

    def __str__(self) -> str:
        if self.first == self.last:
            return self.first.isoformat()
        return f"{self.first.isoformat()}..{self.last.isoformat()}"

    def days(self) -> list[date]:
        """Every day of the window."""
        return [self.first + timedelta(n) for n in range((self.last - self.first).days + 1)]


def parse_window(text: str, *, today: date) -> Window:
    """Read ``2026-11-01``, ``2026-11-01..2026-11-07``, ``yesterday`` or ``today``.

    Raises:
        ValueError: anything else.
    """
    named = {"today": today, "yesterday": today - timedelta(1)}
    first, _, last = text.partition("..")
    try:
        days = [named.get(part) or date.fromisoformat(part) for part in (first, last or first)]
    except ValueError as error:
        raise ValueError(
            f"{text!r} is not a window: give yesterday, 2026-11-01 or 2026-11-01..2026-11-07"
        ) from error
    return Window(*days)


def partition(day: str, site: str) -> str:
    """The folder of one site's day."""
    return f"{RECORDS}/day={day}/site={quote(site, safe='')}"


def sample_key(request_id: str, index: int) -> int:
    """Hash a record's key to [0, 2**32); the same for every copy of a record."""
    return zlib.crc32(f"{request_id}/{index}".encode())


def encode(table: pa.Table) -> bytes:
    """Write a table as every file of the archive is: Parquet, zstd."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def decode(data: bytes) -> pa.Table:
    """Read what `encode` wrote."""
    return pq.read_table(io.BytesIO(data))
