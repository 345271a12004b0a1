"""The alarms' rows in docs/operations.md."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ROW = re.compile(r"^\| <a id=\"alarm-[a-z0-9-]+\"></a>(.*) \|$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Entry:
    """What to do about one alarm."""

    name: str  # the end of the alarm's name
    tells: str  # page, ticket or nobody
    means: str
    look: str
    fix: str


def entries(text: str) -> tuple[Entry, ...]:
    """The rows of all tables of alarms."""
    return tuple(Entry(*row.split(" | ")) for row in _ROW.findall(text))
