"""Which sites are on hold, and a person's hold or release: in the folder that the service reads.

The service looks into it every 15 s. Where tasks share no folder, the shipper of each exchanges it
with the archive (`capture.site_sync`), so the console exchanges its own with the archive, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from capture import site_sync
from capture.site_states import (
    Change,
    Incident,
    SiteState,
    SiteStates,
    held,
    merge,
    read_all,
    released,
)
from console.visit import Console, Refusal

SEEN_WITHIN_S: Final = 60  # by every task: service and shipper each look several times a minute


def read_states(console: Console) -> dict[str, SiteState]:
    """Every site that the service knows, by name."""
    found = {state.site: state for state in site_sync.stored(console.archive)}
    folder = _folder(console)
    for state in read_all(folder) if folder.is_dir() else []:
        other = found.get(state.site)
        found[state.site] = state if other is None else merge(state, other)
    return found


def hold(console: Console, site: str, *, by: str, reason: str, now_us: int) -> None:
    """Put a site on hold: from now on its reads are answered, but not accepted.

    Raises:
        Refusal: it is on hold by a person already, or the state cannot be written.
    """
    before = _incident_of(console, site)
    if before is not None and before.status == "hold" and before.held_by:
        raise Refusal(409, f"{site} is on hold already, by {before.held_by}; reload the page.")
    _write(console, site, held(before, by, reason, now_us))


def release(console: Console, site: str, *, by: str, now_us: int) -> None:
    """Trust a site again.

    Raises:
        Refusal: it is trusted already, or the state cannot be written.
    """
    before = _incident_of(console, site)
    if before is None or before.status == "ok":
        raise Refusal(
            409, f"{site} is not on hold, so there is nothing to release; reload the page."
        )
    _write(console, site, released(before, by, now_us))


def _incident_of(console: Console, site: str) -> Incident | None:
    state = read_states(console).get(site)
    return None if state is None else state.incident


def _write(console: Console, site: str, incident: Incident) -> None:
    change = Change(site, "", 0, (), incident)
    try:
        SiteStates(_folder(console)).exchange([change])
        if console.settings.service.site_states_dir is None:
            site_sync.sync(console.settings.capture.spool, console.archive)
    except OSError as error:
        raise Refusal(
            503,
            f"The state of {site} cannot be written, so nothing was changed for certain: {error}. "
            "The console must run as the service's user, with the same DIGITS_CAPTURE_DIR (or "
            "DIGITS_SITE_STATES_DIR) and DIGITS_CAPTURE_STORE.",
        ) from error


def _folder(console: Console) -> Path:
    """Where the service on this machine keeps the states (serving/build.py)."""
    service, capture = console.settings.service, console.settings.capture
    return service.site_states_dir or capture.spool / site_sync.FOLDER
