"""What a person asks for -> the command line that does it, every value checked.

A command is a list of arguments and never goes through a shell; `shown` quotes it for people who
run it themselves. Edge: looks whether this machine can run it.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal

from capture.archive import parse_window
from console.config import ConsoleSettings
from console.versions import candidate_folder, champions
from console.visit import Console, Refusal

Kind = Literal["promote", "rollback", "adopt"]
KINDS: Final[tuple[Kind, ...]] = ("promote", "rollback", "adopt")
TITLES: Final[dict[str, str]] = {
    "promote": "Promote a candidate",
    "rollback": "Roll back to an earlier champion",
    "adopt": "Adopt a week as the drift reference",
}
MAX_WHY_CHARS: Final = 200
PROMOTED_BY: Final = "DIGITS_PROMOTED_BY"
_TRAINING_PACKAGES: Final = ("training", "torch", "onnx", "mlflow")
_TIME_LIMIT_S: Final = 900.0  # a promotion takes less than a minute


@dataclass(frozen=True, slots=True)
class Tools:
    """How commands are run."""

    python: tuple[str, ...] = (sys.executable,)  # what `-m training` follows
    packages: tuple[str, ...] = _TRAINING_PACKAGES  # that promote and rollback import
    time_limit_s: float = _TIME_LIMIT_S
    lock_folder: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))

    def lock(self, settings: ConsoleSettings) -> Path:
        """File that a running command holds, also after its console was killed."""
        champion = sha256(str(settings.champion.absolute()).encode()).hexdigest()[:12]
        return self.lock_folder / f"digitline-action-{os.getuid()}-{champion}.lock"


@dataclass(frozen=True, slots=True)
class Command:
    """A command that may be run."""

    kind: Kind
    subject: str  # candidate, version or days
    why: str
    arguments: tuple[str, ...]  # the program first
    about: str  # the models that it concerns; another one since is a reason to ask again


def prepare(console: Console, tools: Tools, kind: Kind, subject: str, why: str) -> Command:
    """Check what was asked for.

    Args:
        console: where things are.
        tools: how commands are run.
        kind: what to do.
        subject: name of the candidate, version to go back to, or days of mail.
        why: for the promotion log and the audit log.

    Raises:
        Refusal: a value is unfit, or the models do not allow it.
        StoreError: the model store cannot be read.
    """
    if not why or len(why) > MAX_WHY_CHARS or not why.isprintable():
        raise Refusal(400, f"Give the reason in 1 to {MAX_WHY_CHARS} characters on one line.")
    champion = champions.served(console.settings.champion)
    about = "" if champion is None else champion.facts.sha256
    if kind == "promote":
        chosen, sha = _candidate(console, subject, about)
        arguments = promote_arguments(console.settings, chosen, why)
        about = f"{about} {sha}"
    elif kind == "rollback":
        _check_version(console, subject, None if champion is None else champion.version)
        arguments = rollback_arguments(console.settings, subject, why)
    else:
        subject = _window(subject)
        arguments = adopt_arguments(console.settings, subject)
    return Command(kind, subject, why, (*tools.python, *arguments), about)


def _candidate(console: Console, name: str, champion: str) -> tuple[Path, str]:
    found = candidate_folder.find(console.settings.work, champion or None)
    chosen = next((one for one in found if one.name == name), None)
    if chosen is None:
        raise Refusal(404, f"There is no candidate {name!r}; choose one on the page Models.")
    if chosen.refusal:
        raise Refusal(409, chosen.refusal)
    return chosen.folder, chosen.sha256


def _check_version(console: Console, version: str, served: str | None) -> None:
    if version == served:
        raise Refusal(409, f"Version {version} is the champion already.")
    kept = champions.kept_versions(console.models)
    if version not in kept:
        raise Refusal(
            404,
            f"Version {version!r} is not in the model store {console.models.url}; "
            f"kept there: {', '.join(kept) or 'none'}.",
        )


def _window(text: str) -> str:
    today = datetime.now(UTC).date()
    try:
        window = parse_window(text, today=today)
    except ValueError as error:
        raise Refusal(400, f"{error}; give the days as 2026-11-16..2026-11-22.") from error
    if window.last > today:
        raise Refusal(400, f"{window} ends after today, {today}; choose days that are over.")
    return str(window)


def promote_arguments(settings: ConsoleSettings, work: Path, why: str) -> tuple[str, ...]:
    """Of `training promote`; a reason that starts with "-" stays one by the `=`."""
    return (
        *("-m", "training", "promote", f"--work={work}", f"--champion={settings.champion}"),
        *(f"--model-store={settings.capture.models}", f"--why={why}"),
    )


def rollback_arguments(settings: ConsoleSettings, version: str, why: str) -> tuple[str, ...]:
    """Of `training rollback`."""
    return (
        *("-m", "training", "rollback", f"--to={version}", f"--champion={settings.champion}"),
        *(f"--model-store={settings.capture.models}", f"--why={why}"),
    )


def adopt_arguments(settings: ConsoleSettings, days: str) -> tuple[str, ...]:
    """Of `monitoring reference`."""
    capture = settings.capture
    return (
        *("-m", "monitoring", "reference", f"--from={days}", "--adopt"),
        *(f"--store={capture.store}", f"--reports={capture.reports}"),
    )


def shown(arguments: Sequence[str], who: str) -> str:
    """A command as a shell takes it, with the variable that the console sets."""
    return f"{PROMOTED_BY}={shlex.quote(who)} {shlex.join(arguments)}"


def obstacle(settings: ConsoleSettings, tools: Tools, kind: Kind) -> str:
    """Why this console cannot run a command, with what to do; empty where it can."""
    capture = settings.capture
    if kind == "adopt":
        return _read_only([capture.reports])
    served = settings.service.champion or ""
    if served.startswith("s3://"):
        return (
            f"The service reads its champion from {served}, which no command here replaces: "
            "see docs/aws.md."
        )
    lacking = [name for name in tools.packages if importlib.util.find_spec(name) is None]
    if lacking:
        return (
            f"The console's Python lacks {', '.join(lacking)}. Install requirements.txt beside "
            "the console, or run the command where training runs."
        )
    work = [str(settings.work)] if kind == "promote" else []
    return _read_only([str(settings.champion.parent), capture.models, *work])


def _read_only(places: Sequence[str]) -> str:
    for place in places:
        if not place.startswith("s3://") and not _may_write(Path(place)):
            return f"The console may not write to {place}. Run the command where that is allowed."
    return ""


def _may_write(folder: Path) -> bool:
    """Whether files can be made in a folder, or in the one where it would be made."""
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
