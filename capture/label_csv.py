"""A CSV file of labels -> its rows, or everything that is wrong with it.

All cells are text: an id such as 00123, NA or 1e5 stays as it is written. Nothing of a file with a
mistake is taken. Knows nothing about the archive.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from capture.label_event import BadField, LabelEvent, event_of, text_of

COLUMNS: Final = (
    "read_id",
    "request_id",
    "site",
    "crop_index",
    "label",
    "who",
    "when",
    "how",
)
MAX_FILE_BYTES: Final = 32_000_000  # about 600,000 labels
_MAX_SHOWN: Final = 20  # mistakes in one message
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_EXAMPLE: Final = "read_id,crop_index,label"


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a file without these columns, or a row without these values, means."""

    who: str
    how: str
    now: datetime


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One label of the file."""

    line: int  # of the file, from 1
    event: LabelEvent  # its read_id is the request_id where only that is given
    request_id: str  # "" where the read id is given
    site: str
    has_time: bool  # False: the file does not say when


class LabelFileError(ValueError):
    """The file has mistakes; the message has one line for each."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        shown = [*mistakes[:_MAX_SHOWN]]
        if len(mistakes) > _MAX_SHOWN:
            shown.append(f"and {len(mistakes) - _MAX_SHOWN} more")
        super().__init__("\n".join(shown))


class _Mistake(ValueError):
    """What is wrong with one row."""


def parse(data: bytes, defaults: Defaults) -> list[LabelRow]:
    """Read a CSV with a header line, separated by commas, semicolons or tabs.

    Spaces around cells and rows without any value do not count. The same label twice is one.

    Raises:
        LabelFileError: anything that is not certain; it names each line, value and remedy.
    """
    lines = _lines(_decode(data))
    if not any(line.strip() for line in lines):
        raise LabelFileError(["the file is empty; its first line must be " + _EXAMPLE])
    rows = list(_rows(lines))
    if not rows:
        raise LabelFileError(["no line has any value; the first line must be " + _EXAMPLE])
    names = _header(*rows[0])
    found: list[LabelRow] = []
    mistakes = []
    for number, cells in rows[1:]:
        try:
            found.append(_row(number, names, cells, defaults))
        except (_Mistake, BadField) as mistake:
            mistakes.append(f"line {number}: {mistake}")
    if mistakes:
        raise LabelFileError(mistakes)
    if not found:
        raise LabelFileError(["the file has a header and no labels"])
    return found


def _decode(data: bytes) -> str:
    encoding = "utf-16" if data.startswith(_UTF16) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LabelFileError(
            [f"line {line}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"]
        ) from None


def _lines(text: str) -> list[str]:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise LabelFileError([f"line {number}: has a NUL byte; save the file as CSV, in UTF-8"])
    return lines


def _rows(lines: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """The number of each line that has a value, and its cells."""
    header = next(line for line in lines if line.strip())
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield reader.line_num, stripped
    except csv.Error as error:
        raise LabelFileError(
            [f"line {reader.line_num}: {error}; close each quote, and write each row on one line"]
        ) from None


def _header(number: int, cells: Sequence[str]) -> list[str]:
    names = ",".join(cells).lower().rstrip(",").split(",")
    wrong = []
    if not {"read_id", "request_id"} & set(names):
        wrong.append("neither read_id nor request_id")
    wrong += [f"no {name}" for name in ("crop_index", "label") if name not in names]
    wrong += [f"{name} twice" for name in COLUMNS if names.count(name) > 1]
    if wrong:
        shown = ",".join(names)[:80]
        raise LabelFileError(
            [f"line {number}: the header {shown!r} has {', '.join(wrong)}; write {_EXAMPLE}"]
        )
    return names


def _row(number: int, names: Sequence[str], cells: Sequence[str], defaults: Defaults) -> LabelRow:
    if len(cells) < len(names) or any(cells[len(names) :]):
        raise _Mistake(f"has {len(cells)} cells; the header has {len(names)}")
    row = {name: cell for name, cell in zip(names, cells, strict=False) if cell}
    if not row.keys() & {"read_id", "request_id"}:
        raise _Mistake("has no id; give the read_id that the answer had")
    for name in ("request_id", "site"):
        if name in row:
            text_of(row, name)
    moment = defaults.now.isoformat()
    fields = {"who": defaults.who, "how": defaults.how, "when": moment, **row}
    fields["read_id"] = row.get("read_id") or row["request_id"]
    return LabelRow(
        line=number,
        event=event_of(fields, now=defaults.now),
        request_id="" if "read_id" in row else row["request_id"],
        site=row.get("site", ""),
        has_time="when" in row,
    )
