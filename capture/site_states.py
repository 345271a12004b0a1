"""What is known of each site, in a folder that several processes share: its history, its hold.

    HASH.json    one site; replaced whole
    .lock        held while a file is read, changed and replaced

The workers of one task share a folder of the spool. Tasks share it through a mounted disk, or the
shipper exchanges it with the archive's store (`capture.site_sync`). Two copies of a state can be
merged in any order, any number of times. Knows nothing about how a site is judged.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Literal, NamedTuple

from pydantic import TypeAdapter

from capture.segments import replace_bytes

log = logging.getLogger(__name__)

Status = Literal["ok", "alert", "hold"]
SUFFIX: Final = ".json"
HISTORY_READS: Final = 20_000  # weight of the past: 1.5 days of a site with 5 M reads a year
RELAPSE_US: Final = 24 * 3_600_000_000  # a second incident within it waits for a person
RECOVERY: Final = "recovery"
_SEVERITY: Final[Mapping[str, int]] = {"ok": 0, "alert": 1, "hold": 2}
_LOCK: Final = ".lock"


@dataclass(frozen=True, slots=True)
class Incident:
    """The last thing that happened to a site: it tripped, or it was released."""

    status: Status  # alert: tripped, and its reads are answered as ever
    changed_us: int  # microseconds since 1970
    since_us: int  # when it tripped
    reason: str = ""
    statistic: str = ""  # which one tripped
    num_reads: int = 0  # reads since the change began, as the test estimates it
    reject_share: float = 0.0  # of these
    usual_reject_share: float = 0.0
    released_by: str = ""  # a person's key's site, or "recovery"
    recovered_us: int = 0  # when the site last recovered by itself
    held_by: str = ""  # the person who put it on hold; "": the service did

    @property
    def is_relapse(self) -> bool:
        """Whether the site had recovered by itself less than a day before it tripped."""
        return bool(self.recovered_us) and self.since_us - self.recovered_us < RELAPSE_US


def released(incident: Incident, by: str, now_us: int) -> Incident:
    """End an incident; the site is trusted again."""
    recovered_us = now_us if by == RECOVERY else 0
    return replace(
        incident,
        status="ok",
        changed_us=_after(incident, now_us),
        released_by=by,
        recovered_us=recovered_us,
    )


def held(before: Incident | None, by: str, reason: str, now_us: int) -> Incident:
    """Put a site on hold because a person says so; only a person ends that."""
    return Incident(
        status="hold",
        changed_us=_after(before, now_us),
        since_us=now_us,
        reason=reason,
        recovered_us=0 if before is None else before.recovered_us,
        held_by=by,
    )


def _after(before: Incident | None, now_us: int) -> int:
    """When something changes: later than what it changes, also where a clock was set back.

    Of two copies the later incident counts, so a release would be lost for as long.
    """
    return now_us if before is None else max(now_us, before.changed_us + 1)


@dataclass(frozen=True, slots=True)
class SiteState:
    """One site: the mean of each signal over its own reads, and its last incident."""

    site: str
    model_version: str = ""
    num_reads: int = 0  # learned from, ever
    means: tuple[float | None, ...] = ()  # in the order of the signals; None: never measured
    incident: Incident | None = None

    @property
    def status(self) -> Status:
        """Whether it is trusted."""
        return "ok" if self.incident is None else self.incident.status


_STATE: Final = TypeAdapter(SiteState)


class Change(NamedTuple):
    """What one process has learned of a site since it last said so."""

    site: str
    model_version: str
    num_reads: int
    means: Sequence[float | None]  # over these reads
    incident: Incident | None  # None: none happened


def learn(state: SiteState, change: Change) -> SiteState:
    """Add reads to a site's history; older reads lose weight.

    Reads of another model, or another list of signals, weigh a tenth from now on, or nothing.
    """
    if not change.num_reads:
        return state
    weight_reads = min(state.num_reads, HISTORY_READS)
    if state.model_version != change.model_version:
        weight_reads = min(weight_reads, HISTORY_READS // 10)
    share = change.num_reads / (weight_reads + change.num_reads)
    before = state.means
    if len(before) != len(change.means):
        before = (None,) * len(change.means)
    means = tuple(
        old if new is None else new if old is None else old + share * (new - old)
        for old, new in zip(before, change.means, strict=True)
    )
    return replace(
        state,
        model_version=change.model_version,
        num_reads=state.num_reads + change.num_reads,
        means=means,
    )


def merge(one: SiteState, other: SiteState) -> SiteState:
    """Two copies of a site's state as one: the longer history and the later incident."""
    history = max(one, other, key=lambda state: (state.num_reads, str(state.means)))
    incidents = [state.incident for state in (one, other) if state.incident is not None]
    latest = max(
        incidents,
        key=lambda found: (found.changed_us, _SEVERITY[found.status], str(found)),
        default=None,
    )
    return replace(history, incident=latest)


def to_json(state: SiteState) -> bytes:
    """A site's state as its file."""
    return json.dumps(asdict(state), ensure_ascii=False).encode("utf-8")


def from_json(data: bytes) -> SiteState:
    """Read a site's file.

    Raises:
        ValueError: it is damaged, or of another version.
    """
    return _STATE.validate_json(data, strict=True)


def file_name(site: str) -> str:
    """The name of a site's file; sites have names that no file can have."""
    return hashlib.sha256(site.encode("utf-8")).hexdigest()[:32] + SUFFIX


class SiteStates:
    """The states of all sites. Without a folder they are this process's own.

    Args:
        folder: shared; made with the first state.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._own: dict[str, SiteState] = {}

    def exchange(self, changes: Sequence[Change]) -> list[SiteState]:
        """Add what this process has learned, and return what all of them know.

        A site that has tripped already keeps the incident that it has, unless a person decides.

        Raises:
            OSError: the folder cannot be read or written.
        """
        if self._folder is None:
            for change in changes:
                state = _apply(self._own.get(change.site, SiteState(change.site)), change)
                self._own[change.site] = state
            return list(self._own.values())
        if changes:
            self._folder.mkdir(parents=True, exist_ok=True)
        elif not self._folder.is_dir():
            return []
        with _locked(self._folder):
            for change in changes:
                path = self._folder / file_name(change.site)
                state = _read(path) or SiteState(change.site)
                replace_bytes(path, to_json(_apply(state, change)))
            return read_all(self._folder)

    def merge_in(self, states: Sequence[SiteState]) -> list[SiteState]:
        """Merge other tasks' states into the folder, and return the result.

        Raises:
            OSError: the folder cannot be read or written.
        """
        assert self._folder is not None
        if states:
            self._folder.mkdir(parents=True, exist_ok=True)
        elif not self._folder.is_dir():
            return []
        with _locked(self._folder):
            for other in states:
                path = self._folder / file_name(other.site)
                mine = _read(path)
                merged = other if mine is None else merge(mine, other)
                if merged != mine:
                    replace_bytes(path, to_json(merged))
            return read_all(self._folder)


def read_all(folder: Path) -> list[SiteState]:
    """Every site of the folder; a damaged file is logged and left out."""
    found = (_read(path) for path in sorted(folder.glob(f"*{SUFFIX}")))
    return [state for state in found if state is not None]


def _apply(state: SiteState, change: Change) -> SiteState:
    state = learn(state, change)
    incident = change.incident
    if incident is None:
        return state
    if incident.status != "ok" and state.status != "ok" and not incident.held_by:
        return state
    later_us = _after(state.incident, incident.changed_us)
    return replace(state, incident=replace(incident, changed_us=later_us))


def _read(path: Path) -> SiteState | None:
    try:
        return from_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        log.error("%s is damaged and is written anew: %s", path.name, error)  # noqa: TRY400
        return None


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # which unlocks it
