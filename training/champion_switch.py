"""Write a champion folder and exchange it for the old one atomically, whatever the model is.

Edge: writes files. A process killed at any point leaves the old or the new champion whole: the new
folder is complete and on disk before one rename makes it the champion. Log and registry follow;
`recover` brings them up to date where the process was killed between.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from capture.segments import sync_folder
from training import promotion_log
from training.promotion_log import Promotion

WEIGHTS = "weights.pt"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def stage(files: Mapping[str, bytes], champion: Path, *, check: Callable[[Path], object]) -> Path:
    """Write a folder beside the champion and check it; returns the folder for `switch`.

    Args:
        files: name, which may have one folder before it -> content; manifest.json among them.
        champion: the folder that serving loads.
        check: raises ArtifactRefused if serving would refuse the folder; nothing has changed then.
    """
    staged = staged_folder(champion)
    write(files, staged)
    check(staged)
    return staged


def staged_folder(champion: Path) -> Path:
    """Where a new champion is written whole before it takes the old one's place."""
    return champion.with_name(f".{champion.name}.staged")


def switch(
    staged: Path,
    champion: Path,
    *,
    when: str,
    why: str,
    announce: Callable[[Promotion], None] = lambda _: None,
) -> Promotion:
    """Make a staged folder the champion, log it, and announce it.

    Args:
        staged: a complete folder that serving accepts.
        champion: the folder that serving loads.
        when: ISO 8601 time for the log.
        why: one line for the log.
        announce: tells others, for example the registry; called again by `recover` where this
            process was killed.
    """
    old, new = _manifest(champion), _manifest(staged)
    assert new is not None, "a staged folder is complete"
    to_version, sha256 = _identity(new)
    entry = Promotion(
        when=when,
        who=promotion_log.who(),
        from_version=str(old["version"]) if old else None,
        to_version=to_version,
        sha256=sha256,
        why=why,
    )
    promotion_log.begin(entry, champion)
    swap(staged, champion)
    _conclude(entry, champion, announce)
    return entry


def _conclude(entry: Promotion, champion: Path, announce: Callable[[Promotion], None]) -> None:
    if promotion_log.read(champion)[-1:] != [entry]:
        promotion_log.append(entry, champion)
    announce(entry)
    promotion_log.end(champion)


def _identity(manifest: Mapping[str, object]) -> tuple[str, str]:
    return str(manifest["version"]), str(manifest["sha256"])


def _manifest(champion: Path) -> dict[str, object] | None:
    try:
        found: dict[str, object] = json.loads((champion / "manifest.json").read_text())
    except FileNotFoundError:
        return None
    return found


def recover(champion: Path, announce: Callable[[Promotion], None] = lambda _: None) -> None:
    """Finish a switch that was killed after the champion was exchanged; undo one killed before.

    A process killed between the two renames of `swap` left no champion, but the old one under
    another name.
    """
    replaced = champion.with_name(f".{champion.name}.replaced")
    if replaced.exists() and not champion.exists():
        replaced.rename(champion)
    for leftover in (replaced, staged_folder(champion)):
        if leftover.exists():
            shutil.rmtree(leftover)
    entry, served = promotion_log.begun(champion), _manifest(champion)
    if entry and served and _identity(served) == (entry.to_version, entry.sha256):
        _conclude(entry, champion, announce)
    promotion_log.end(champion)


def write(files: Mapping[str, bytes], folder: Path) -> None:
    """Write a folder and wait until it is on disk."""
    folder.mkdir(parents=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    sync_folder(folder)


def swap(staged: Path, champion: Path) -> None:
    """Exchange two folders in one system call, or rename where there is no old one.

    `renameat2(RENAME_EXCHANGE)` leaves no moment without a champion. A file system without it gets
    two renames; a process killed between them leaves the old champion as `.champion.replaced`.
    """
    if not champion.exists():
        staged.rename(champion)
    elif _exchange(staged, champion):
        shutil.rmtree(staged)
    else:
        replaced = champion.with_name(f".{champion.name}.replaced")
        champion.rename(replaced)
        staged.rename(champion)
        shutil.rmtree(replaced)
    sync_folder(champion.parent)


def _exchange(first: Path, second: Path) -> bool:
    """True when the kernel exchanged the two names."""
    call: Callable[..., int] | None = getattr(ctypes.CDLL(None), "renameat2", None)
    if call is None:
        return False
    done = call(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE)
    return done == 0
