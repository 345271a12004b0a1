"""Alert events: what a notification says. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from capture.archive import Window
from monitoring.findings import Assessment, Severity

TO_DO: Final = {
    Severity.CALM: "Nothing.",
    Severity.WATCH: "In office hours, check in the report whether a scanner, pen or source is new.",
    Severity.ACT: (
        "Look at the crops of the site that is named first. If they are dirty, call the site and "
        "take it out of automatic sorting until they are clean. If no site is named, see 'Drift "
        "says act' in docs/monitoring.md."
    ),
}
_DRIFT_TITLES: Final = {
    Severity.CALM: "Drift is over",
    Severity.WATCH: "Drift: check the report",
    Severity.ACT: "Drift: act now",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One notification. `topic` and `since` identify a problem from its start to its end."""

    topic: str  # drift | missing | retrain
    severity: int  # a `Severity`; CALM means recovered
    title: str
    details: tuple[str, ...]
    sites: tuple[str, ...]
    since: str  # first day of the problem
    window: str  # the days that were checked
    link: str
    to_do: str

    @property
    def id(self) -> str:
        """Equal for equal events, so that a repeated run sends no duplicate."""
        key = json.dumps([self.topic, self.severity, self.since, self.window, self.sites])
        return hashlib.sha256(key.encode()).hexdigest()[:20]

    def text(self) -> str:
        """The event as plain text."""
        lines = [self.title, "", *(f"- {detail}" for detail in self.details)]
        if self.sites:
            lines.append(f"Sites: {', '.join(self.sites)}")
        lines += [f"Since: {self.since}", f"What to do: {self.to_do}", f"Report: {self.link}"]
        return "\n".join(lines)


def drift_event(window: Window, assessment: Assessment, link: str) -> Event:
    """Report the verdict on a window that has enough records."""
    severity = assessment.severity
    sites = {one.site for one in assessment.findings if one.site}
    return Event(
        topic="drift",
        severity=severity,
        title=f"{_DRIFT_TITLES[severity]} ({window})",
        details=tuple(one.text for one in assessment.findings[:10]),
        sites=tuple(sorted(sites)),
        since=window.first.isoformat(),
        window=str(window),
        link=link,
        to_do=TO_DO[severity],
    )


def missing_event(missing: Sequence[date], *, today: date, num_days: int, link: str) -> Event:
    """Report which of the last `num_days` days have no report, or that none is missing."""
    if not missing:
        return Event(
            topic="missing",
            severity=Severity.CALM,
            title=f"No drift report is missing in the last {num_days} days",
            details=(),
            sites=(),
            since=today.isoformat(),
            window=today.isoformat(),
            link=link,
            to_do="Nothing.",
        )
    days = [day.isoformat() for day in missing]
    return Event(
        topic="missing",
        severity=Severity.ACT,
        title=f"No drift report for {', '.join(days)}",
        details=("Drift was not checked on these days.",),
        sites=(),
        since=days[0],
        window=days[-1],
        link=link,
        to_do=(
            f"Run `python -m monitoring report --current {days[0]}`; check why the schedule failed."
        ),
    )
