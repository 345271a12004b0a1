"""What people are told: an event, and the words of each kind. Pure."""

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
    Severity.WATCH: "Look at the report in office hours: did a scanner, pen or source change?",
    Severity.ACT: "Follow docs/monitoring.md, 'Drift says act': find the site, look at its crops.",
}
_DRIFT_TITLES: Final = {
    Severity.CALM: "Drift is over",
    Severity.WATCH: "Drift: worth a look",
    Severity.ACT: "Drift: act now",
}


@dataclass(frozen=True, slots=True)
class Event:
    """What a person is told. `topic` and `since` name the trouble from its start to its end."""

    topic: str  # drift | missing | retrain
    severity: int  # of `Severity`; CALM is a recovery
    title: str
    details: tuple[str, ...]
    sites: tuple[str, ...]
    since: str  # first day of the trouble
    window: str  # the days that were looked at
    link: str
    to_do: str

    @property
    def id(self) -> str:
        """The same for the same news, so that a repeated run tells nobody twice."""
        said = json.dumps([self.topic, self.severity, self.since, self.window, self.sites])
        return hashlib.sha256(said.encode()).hexdigest()[:20]

    def text(self) -> str:
        """The event as plain text."""
        lines = [self.title, "", *(f"- {detail}" for detail in self.details)]
        if self.sites:
            lines.append(f"Sites: {', '.join(self.sites)}")
        lines += [f"Since: {self.since}", f"What to do: {self.to_do}", f"Report: {self.link}"]
        return "\n".join(lines)


def drift_event(window: Window, assessment: Assessment, link: str) -> Event:
    """The verdict on a window that has enough records."""
    severity = assessment.severity
    sites = {one.site for one in assessment.findings if one.site and one.severity == Severity.ACT}
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
    """Days without a report among the last `num_days`, or that there are none."""
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
        details=("Nobody is looking for drift on these days.",),
        sites=(),
        since=days[0],
        window=days[-1],
        link=link,
        to_do=(
            f"Run `python -m monitoring report --current {days[0]}`, see why the schedule did not."
        ),
    )
