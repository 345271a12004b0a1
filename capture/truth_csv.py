"""A CSV file of true digits -> its rows, or everything that is wrong with it.

All cells are text: an id such as 00123, NA or 1e5 stays as it is written. Nothing of a file with a
mistake is taken. Knows nothing about the archive.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

COLUMNS: Final = ("read_id", "request_id", "site", "crop_index", "label")
_MAX_SHOWN: Final = 20  # mistakes in one message
_MAX_ID_BYTES: Final = 255
_MAX_INDEX: Final = 2**31 - 1
_WHOLE: Final = re.compile(r"([0-9]{1,18})(?:\.0*)?")  # spreadsheets write 7 as 7.0
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_EXAMPLE: Final = "read_id,crop_index,label"


@dataclass(frozen=True, slots=True)
class Truth:
    """The true digit of one crop."""

    line: int  # of the file, from 1
    read_id: str  # "" where only the request id is given
    request_id: str
    site: str
    crop_index: int
    label: int


class TruthError(ValueError):
    """The file has mistakes; the message has one line for each."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        shown = [*mistakes[:_MAX_SHOWN]]
        if len(mistakes) > _MAX_SHOWN:
            shown.append(f"and {len(mistakes) - _MAX_SHOWN} more")
        super().__init__("\n".join(shown))


class _Mistake(ValueError):
    """What is wrong with one row."""


def parse(data: bytes) -> list[Truth]:
    """Read a CSV with a header line, separated by commas, semicolons or tabs.

    Spaces around cells and rows without any value do not count. The same label twice is one.

    Raises:
        TruthError: anything that is not certain; it names each line, value and remedy.
    """
    lines = _lines(_decode(data))
    if not any(line.strip() for line in lines):
        raise TruthError(["the file is empty; its first line must be " + _EXAMPLE])
    rows = list(_rows(lines))
    if not rows:
        raise TruthError(["no line has any value; the first line must be " + _EXAMPLE])
    names = _header(*rows[0])
    found: dict[tuple[str, str, str, int], Truth] = {}
    mistakes = []
    for number, cells in rows[1:]:
        try:
            truth = _truth(number, names, cells)
            key = (truth.read_id, truth.request_id, truth.site, truth.crop_index)
            first = found.setdefault(key, truth)
            if first.label != truth.label:
                raise _Mistake(
                    f"label {truth.label}, but line {first.line} says {first.label} of the same "
                    "crop; keep one of them"
                )
        except _Mistake as mistake:
            mistakes.append(f"line {number}: {mistake}")
    if mistakes:
        raise TruthError(mistakes)
    if not found:
        raise TruthError(["the file has a header and no labels"])
    return list(found.values())


def _decode(data: bytes) -> str:
    encoding = "utf-16" if data.startswith(_UTF16) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TruthError(
            [f"line {line}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"]
        ) from None


def _lines(text: str) -> list[str]:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise TruthError([f"line {number}: has a NUL byte; save the file as CSV, in UTF-8"])
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
        raise TruthError(
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
        raise TruthError(
            [f"line {number}: the header {shown!r} has {', '.join(wrong)}; write {_EXAMPLE}"]
        )
    return names


def _truth(number: int, names: Sequence[str], cells: Sequence[str]) -> Truth:
    if len(cells) < len(names) or any(cells[len(names) :]):
        raise _Mistake(f"has {len(cells)} cells; the header has {len(names)}")
    row = dict(zip(names, cells, strict=False))
    read_id, request_id = row.get("read_id", ""), row.get("request_id", "")
    if not read_id and not request_id:
        raise _Mistake("has no id; give the read_id that the answer had")
    label = _whole(row["label"])
    if label is None or label > 9:
        raise _Mistake(f"label {row['label'][:40]!r} is not a digit; write one from 0 to 9")
    crop_index = _whole(row["crop_index"])
    if crop_index is None or crop_index > _MAX_INDEX:
        raise _Mistake(
            f"crop_index {row['crop_index'][:40]!r} is not the place of a crop; write 0 for the "
            "first one of a request"
        )
    return Truth(
        line=number,
        read_id=_text("read_id", read_id),
        request_id=_text("request_id", request_id),
        site=_text("site", row.get("site", "")),
        crop_index=crop_index,
        label=label,
    )


def _whole(text: str) -> int | None:
    match = _WHOLE.fullmatch(text)
    return int(match[1]) if match else None


def _text(name: str, text: str) -> str:
    if len(text.encode(errors="replace")) > _MAX_ID_BYTES or not text.isprintable():
        raise _Mistake(
            f"{name} {text[:40]!r} cannot be one; it has at most {_MAX_ID_BYTES} bytes and no "
            "control characters"
        )
    return text
