"""The archive of captured records: which key holds what, and how its files are written.

    records/day=2026-11-21/site=leeds/SEGMENT.parquet   what ship writes
    answers/day=2026-11-21/site=leeds/SEGMENT.parquet   the same of other models (answer_rows)
    label_events/NAME.parquet                           what people keyed
    labels/HASH.parquet                                 the same, by version 0.1
    labelled/HASH.parquet                               the crops they keyed, kept for training
    erased/FINGERPRINT                                  reads that must not return

Shipping is at least once, so every reader keeps one row for each (read_id, crop_index). Rows from
before there was a read_id have the request_id in its place. Knows nothing about drift.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

RECORDS: Final = "records"
ANSWERS: Final = "answers"  # of other models
LABEL_EVENTS: Final = "label_events"
LABELS: Final = "labels"
KEPT: Final = "labelled"
ERASED: Final = "erased"
PARQUET: Final = "application/vnd.apache.parquet"
READ_ID: Final = "read_id"
KEY: Final = [READ_ID, "crop_index"]
_MAX_NAME_BYTES: Final = 255  # of a folder, on nearly every file system


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


def partition(day: str, site: str, root: str = RECORDS) -> str:
    """The folder of one site's day, below RECORDS or another root.

    Raises:
        ValueError: the site's name has no UTF-8, or makes the folder's name longer than 255 bytes.
    """
    name = f"site={quote(site, safe='')}"
    if len(name) > _MAX_NAME_BYTES:
        raise ValueError(f"the folder of the site would be {name[:40]}..., {len(name)} bytes long")
    return f"{root}/day={day}/{name}"


def sample_key(read_id: str, index: int) -> int:
    """Hash a record's key to [0, 2**32); the same for every copy of a record."""
    return zlib.crc32(f"{read_id}/{index}".encode())


def with_read_ids(table: pa.Table) -> pa.Table:
    """Fill in the read_id of rows that have none: there the request_id was the key."""
    if READ_ID not in table.column_names:
        return table.add_column(0, READ_ID, table["request_id"])
    if "request_id" not in table.column_names:  # label events
        return table
    place = table.column_names.index(READ_ID)
    return table.set_column(place, READ_ID, pc.coalesce(table[READ_ID], table["request_id"]))


def encode(table: pa.Table) -> bytes:
    """Write a table as every file of the archive is: Parquet, zstd."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def decode(data: bytes) -> pa.Table:
    """Read what `encode` wrote."""
    return pq.read_table(io.BytesIO(data))
