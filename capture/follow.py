"""Reads what is added to a spool, once each: records and label events, also of live segments.

For a program that looks at the spool every second beside the shipper. Remembers how far it has
read each segment; a segment keeps its name, without suffix, when it is finished. Knows nothing
about what is done with what is read.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from capture import challenger_answer, label_event
from capture.frames import Kind
from capture.label_event import LabelEvent
from capture.record import CaptureRecord, decode
from capture.segments import find_segments, open_regular, split_segment


class SpoolFollower:
    """One reader of a spool.

    Args:
        folder: the spool; it may be missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read_to: dict[str, int] = {}  # segment's name without suffix -> bytes

    def read_new(self) -> Iterator[list[CaptureRecord | LabelEvent]]:
        """What was added to each segment since the last call, oldest segment first.

        What is damaged is skipped; what is not complete yet comes with a later call.
        """
        paths = find_segments(self._folder)
        present = {path.stem for path in paths}
        self._read_to = {name: at for name, at in self._read_to.items() if name in present}
        for path in paths:
            with contextlib.suppress(OSError):  # shipped or renamed meanwhile
                found = self._read_one(path)
                if found:
                    yield found

    def _read_one(self, path: Path) -> list[CaptureRecord | LabelEvent]:
        start = self._read_to.get(path.stem, 0)
        with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == start:
                return []
            if size < start:  # a read was erased from it
                start = 0
            file.seek(start)
            data = file.read()
        parts = split_segment(path, data)
        is_torn = bool(parts) and parts[-1].kind is Kind.TORN
        self._read_to[path.stem] = start + (parts[-1].start if is_torn else len(data))
        found = []
        for part in parts:
            if part.kind is Kind.RECORD:
                with contextlib.suppress(ValueError):  # of a later version
                    one = _parse(data[part.payload : part.end])
                    if one is not None:
                        found.append(one)
        return found


def _parse(payload: bytes) -> CaptureRecord | LabelEvent | None:
    if payload.startswith(label_event.FIRST_BYTE):
        return label_event.decode(payload)
    if payload.startswith(challenger_answer.FIRST_BYTE):
        return None
    return decode(payload)
