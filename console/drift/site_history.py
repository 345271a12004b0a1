"""Report summaries -> each site's days: traffic light, rejects beside its own past. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from statistics import median
from typing import Any, Final

from monitoring.drift_pages import STATES

Summary = Mapping[str, Any]  # what report.json holds
USUAL_DAYS: Final = 28  # of the past that a day is compared with


@dataclass(frozen=True, slots=True)
class SiteDay:
    """One site on one day, as its report says."""

    day: date
    state: str  # calm, watch, act; insufficient: too few records to judge
    num_reads: int  # stored
    reject_share: float | None = None  # without the reads of a hold
    distance: float = 0.0  # from the other sites, in standard deviations
    feature: str = ""  # in which it is largest
    findings: tuple[Mapping[str, Any], ...] = ()

    @property
    def is_named(self) -> bool:
        """Whether a rule fired for the site."""
        return self.state in ("watch", "act")


@dataclass(frozen=True, slots=True)
class SiteHistory:
    """One site, day by day; oldest first."""

    site: str
    days: tuple[SiteDay, ...]

    @property
    def latest(self) -> SiteDay | None:
        """The newest day that has a report."""
        return self.days[-1] if self.days else None

    def on(self, day: date) -> SiteDay | None:
        """One day."""
        return next((one for one in self.days if one.day == day), None)

    def until(self, day: date) -> SiteHistory:
        """The same, as it was seen on a day."""
        return replace(self, days=tuple(one for one in self.days if one.day <= day))

    @property
    def usual_reject_share(self) -> float | None:
        """The median of the days before the latest on which no rule fired; None: there is none."""
        shares = [
            one.reject_share
            for one in self.days[:-1][-USUAL_DAYS:]
            if one.reject_share is not None and not one.is_named
        ]
        return median(shares) if shares else None

    @property
    def named_since(self) -> date | None:
        """The first of the days in a row, up to the latest, on which a rule fired."""
        since = None
        for one in reversed(self.days):
            if one.state == "insufficient":
                continue
            if not one.is_named:
                break
            since = one.day
        return since

    @property
    def last_calm_day(self) -> date | None:
        """The newest day on which no rule fired, among those that were judged."""
        return next((one.day for one in reversed(self.days) if one.state == "calm"), None)


def histories(summaries: Sequence[Summary]) -> dict[str, SiteHistory]:
    """Every site that a report of one day has records of, by name.

    Args:
        summaries: oldest first; those of several days are left out.
    """
    days: dict[str, list[SiteDay]] = defaultdict(list)
    for summary in summaries:
        if summary["first"] == summary["last"]:
            for site, one in _sites_of(summary).items():
                days[site].append(one)
    return {site: SiteHistory(site, tuple(found)) for site, found in sorted(days.items())}


def _sites_of(summary: Summary) -> dict[str, SiteDay]:
    day = date.fromisoformat(summary["first"])
    stored = summary.get("num_stored_by_site", {})  # older reports did not note it
    found = {site: SiteDay(day, "insufficient", num_reads) for site, num_reads in stored.items()}
    findings: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for finding in summary["findings"]:
        if finding["site"] is not None:
            findings[finding["site"]].append(finding)
    for one in summary["sites"]:
        site = one["site"]
        fired = findings[site]
        found[site] = SiteDay(
            day,
            STATES[max((int(finding["severity"]) for finding in fired), default=0)],
            stored.get(site, one["num_records"]),
            one["reject_share"],
            one["distance"],
            one["feature"],
            tuple(fired),
        )
    return found
