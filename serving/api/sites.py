"""/v1/sites: which sites are trusted, and releasing one that is on hold."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from capture.site_states import SiteState
from serving.messages import Answer, Request, json_answer
from serving.problems import Problem
from serving.reading.site_watch import SiteWatch

PREFIX: Final = "/v1/sites/"
SUFFIX: Final = "/release"
RELEASE: Final = f"{PREFIX}{{name}}{SUFFIX}"  # stands for every site's path


@dataclass(frozen=True, slots=True)
class SiteHandlers:
    """The handlers of /v1/sites and /v1/sites/NAME/release; for keys with the scope admin."""

    watch: SiteWatch | None  # None: DIGITS_SITE_BREAKER=off

    async def sites(self, request: Request) -> Answer:
        """Every site that has sent a crop."""
        states = [] if self.watch is None else self.watch.states()
        return json_answer({"sites": [_fields(state) for state in states]})

    async def release(self, request: Request) -> Answer:
        """Trust a site again; without effect where it is trusted."""
        name = request.path.removeprefix(PREFIX).removesuffix(SUFFIX)
        try:
            state = None if self.watch is None else await self.watch.release(name, request.site)
        except OSError as error:
            raise Problem(
                503,
                "the site's state cannot be written, so it is not released; check the disk of "
                f"DIGITS_SITE_STATES_DIR or DIGITS_CAPTURE_DIR: {error.strerror}",
            ) from error
        if state is None:
            raise Problem(404, f"there is no site {name[:80]!r}; GET /v1/sites lists them")
        return json_answer(_fields(state))


def _fields(state: SiteState) -> dict[str, Any]:
    """One site's part of an answer."""
    fields: dict[str, Any] = {
        "site": state.site,
        "status": state.status,
        "history_reads": state.num_reads,
        "incident": None,
    }
    if state.incident is not None:
        fields["incident"] = {
            "reason": state.incident.reason,
            "statistic": state.incident.statistic,
            "since": _moment(state.incident.since_us),
            "changed": _moment(state.incident.changed_us),
            "reads": state.incident.num_reads,
            "reject_share": round(state.incident.reject_share, 4),
            "usual_reject_share": round(state.incident.usual_reject_share, 4),
            "held_by": state.incident.held_by or None,
            "released_by": state.incident.released_by or None,
        }
    return fields


def _moment(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(timespec="seconds")
