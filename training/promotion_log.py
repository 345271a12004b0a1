"""The promotion log: which champion followed which, when, by whom and why.

A switch is first noted beside the champion, then carried out, then logged and told to the registry;
the note is removed last. So whoever comes after a killed process knows what is left to do. Edge:
reads and writes files.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from capture.segments import sync_folder

logger = logging.getLogger(__name__)

LOG_NAME = "promotions.jsonl"


@dataclass(frozen=True, slots=True)
class Promotion:
    """One line of the promotion log; a rollback is one too."""

    when: str  # ISO 8601, UTC
    who: str
    from_version: str | None
    to_version: str
    sha256: str  # of the model that was switched to
    why: str


def who() -> str:
    """Who promotes: DIGITS_PROMOTED_BY, or the account."""
    return os.environ.get("DIGITS_PROMOTED_BY") or getpass.getuser()


def read(champion: Path) -> list[Promotion]:
    """The log beside a champion folder, oldest first; a line that was cut off is left out."""
    try:
        lines = champion.with_name(LOG_NAME).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entries.append(Promotion(**json.loads(line)))
        except (ValueError, TypeError):
            logger.warning("%s, line %d is no promotion: %s", LOG_NAME, number, line[:80])
    return entries


def append(entry: Promotion, champion: Path) -> None:
    """Add one line in one write, so that the lines of two promotions never mix."""
    line = json.dumps(asdict(entry)) + "\n"
    with champion.with_name(LOG_NAME).open("a+", encoding="utf-8") as file:
        if file.tell() and not _ends_a_line(Path(file.name)):
            line = "\n" + line
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def begin(entry: Promotion, champion: Path) -> None:
    """Note a switch that is about to happen."""
    note = _note(champion)
    arriving = note.with_suffix(".part")
    with arriving.open("w", encoding="utf-8") as file:
        json.dump(asdict(entry), file)
        file.flush()
        os.fsync(file.fileno())
    arriving.rename(note)
    sync_folder(champion.parent)


def begun(champion: Path) -> Promotion | None:
    """The switch that was noted and not ended, or None."""
    try:
        return Promotion(**json.loads(_note(champion).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def end(champion: Path) -> None:
    """Remove the note: all of the switch is done, or nothing."""
    for note in (_note(champion), _note(champion).with_suffix(".part")):
        if note.exists():  # a read-only file system refuses to remove what is not there, too
            note.unlink()


def next_version(champion: Path) -> str:
    """One more than the highest version that was ever promoted; "1" when there is none."""
    issued = [int(entry.to_version) for entry in read(champion)]
    with contextlib.suppress(FileNotFoundError):
        issued.append(int(json.loads((champion / "manifest.json").read_text())["version"]))
    return str(max(issued, default=0) + 1)


def _note(champion: Path) -> Path:
    return champion.with_name(f".{champion.name}.promotion.json")
