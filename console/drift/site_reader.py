"""What the analyst's pages show of a site, put together from reports, archive and states.

Knows nothing about HTTP, or about how a page looks.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import pandas as pd
from pyarrow.lib import ArrowException

from capture.archive import parse_window
from capture.labels import LABEL_SCHEMA
from capture.reference import Reference, ReferenceMissing
from capture.site_states import SiteState
from capture.store import Store
from console.drift.captured_days import CapturedDays, Crop
from console.drift.day_reports import DayReports
from console.drift.finding_costs import Costed, cost_findings
from console.drift.kept import Kept
from console.drift.site_history import SiteDay, SiteHistory, histories
from monitoring import audits, drift, mail_reference
from monitoring.audits import AuditEstimate
from monitoring.distances import measure_distances
from monitoring.findings import in_words
from monitoring.site_rules import SITE_DISTANCE_LIMIT

log = logging.getLogger(__name__)

DAYS_SHOWN: Final = 30
_SEVERITY: Final = {"hold": 3, "act": 2, "watch": 1, "calm": 0, "insufficient": -1}
_MOST_CHANGES: Final = 8


@dataclass(frozen=True, slots=True)
class SiteRow:
    """One site as the index shows it."""

    history: SiteHistory
    state: SiteState | None  # what the service says; None: it has not said anything
    estimate: AuditEstimate | None  # of the days shown; None: nothing was marked for the audit
    since_estimate: AuditEstimate | None  # since its trouble began; None: it has none
    costed: Sequence[Costed]  # findings of the latest day, costliest first

    @property
    def site(self) -> str:
        """Its name."""
        return self.history.site

    @property
    def is_on_hold(self) -> bool:
        """Whether its reads are not accepted."""
        return self.state is not None and self.state.status == "hold"

    @property
    def light(self) -> str:
        """Its traffic light: that of the latest report, or of the service where that is worse."""
        latest = self.history.latest
        light = "insufficient" if latest is None else latest.state
        return "act" if self.state is not None and self.state.status != "ok" else light

    @property
    def euros_a_day(self) -> float:
        """What its findings cost."""
        return sum(one.euros_a_day or 0.0 for one in self.costed)

    @property
    def order(self) -> tuple[float, float, str]:
        """The worst first, then the costliest."""
        light = "hold" if self.is_on_hold else self.light
        return -_SEVERITY[light], -self.euros_a_day, self.site


@dataclass(frozen=True, slots=True)
class Picture:
    """A crop on a page."""

    crop: Crop
    day: date
    caption: str


@dataclass(frozen=True, slots=True)
class Beside:
    """What a site's day is compared with."""

    name: str  # for people
    day: date | None  # whose crops are shown; None: none of the site are there
    rows: pd.DataFrame | None  # features; None: nothing to compare with


@dataclass(frozen=True, slots=True)
class FeatureChange:
    """One feature of a site's crops, now and before."""

    name: str
    now: float
    before: float
    distance: float  # in standard deviations of before
    is_far: bool


class SiteReader:
    """Reads what the pages show; keeps what it has read until a file changes.

    Args:
        archive: captured records and labels.
        reports: drift reports.
    """

    def __init__(self, archive: Store, reports: Store) -> None:
        self.captured = CapturedDays(archive)
        self._reports = reports
        self._day_reports = DayReports(reports)
        self._reference: Kept[Reference | None] = Kept(1)

    def read_ahead(self) -> None:
        """Read what the index needs, so that the first person does not wait for it."""
        try:
            self.rows(self.summaries(), {})
        except (OSError, ArrowException) as error:
            log.warning("the last month of sites was not read ahead: %s", error)

    def summaries(self) -> list[dict[str, Any]]:
        """Every report, oldest first; not those of a clock that was ahead."""
        today = datetime.now(UTC).date().isoformat()
        return [one for one in self._day_reports.read() if str(one["last"]) <= today]

    def rows(
        self, summaries: Sequence[Mapping[str, Any]], states: Mapping[str, SiteState]
    ) -> list[SiteRow]:
        """Every site that a report or the service knows; the worst first."""
        known = histories(summaries)
        estimates = self.captured.estimates(days_of(known))
        rows = [
            self._row(known.get(site, SiteHistory(site, ())), states.get(site), estimates)
            for site in {*known, *states}
        ]
        return sorted(rows, key=lambda row: row.order)

    def _row(
        self,
        history: SiteHistory,
        state: SiteState | None,
        estimates: Mapping[str, AuditEstimate],
    ) -> SiteRow:
        """One site. Its cost is that of now: calm days before its trouble would dilute it."""
        site, since = history.site, history.named_since
        estimate, recent = estimates.get(site), None
        if since is not None:
            bad_days = tuple(one.day for one in history.days if one.day >= since)
            recent = self.captured.estimates(bad_days).get(site)
        counts = recent if recent is not None and recent.num_judged else estimate
        costed = cost_of(history, history.latest, counts)
        return SiteRow(history, state, estimate, recent, costed)

    def audited_wrong(self, site: str, day: date) -> list[Picture]:
        """Accepted reads of a day that the audit found wrong."""
        marked = audits.judged_marks(self.captured.marked([day]))
        wrong = marked[(marked["site"] == site) & (marked["digit"] != marked["label"])]
        return [
            Picture((row.read_id, int(row.crop_index)), day, f"read {row.digit}, is {row.label}")
            for row in wrong.itertuples()
        ]

    def last(self, site: str, days: Sequence[date], num: int) -> list[Picture]:
        """A site's newest reads.

        Args:
            site: its name.
            days: where they may be, newest first.
            num: how many.
        """
        for day in days:
            rows = self.captured.brief(site, day)
            if len(rows):
                return self._shown(site, day, rows.tail(num).iloc[::-1])
        return []

    def fair(self, site: str, day: date, num: int) -> list[Picture]:
        """A fair sample of a site's day: the reads with the lowest hash."""
        rows = self.captured.wide(site, day)
        return self._shown(site, day, rows.sort_values("sample_key").head(num))

    def rejected(self, site: str, day: date, num: int) -> list[Picture]:
        """The same of those that were rejected."""
        rows = self.captured.wide(site, day)
        rows = rows[rows["accepted"].eq(False)]  # noqa: FBT003 - pandas
        return self._shown(site, day, rows.sort_values("sample_key").head(num))

    def beside(self, history: SiteHistory, day: date) -> Beside:
        """What a site's day is compared with: its own adopted week, or its last calm day."""
        found = self._load_reference()
        if found is not None and found.days:
            rows = found.of_sites if found.of_sites is not None else found.rows
            week = parse_window(found.days, today=day).days()
            mine = rows[rows["site"] == history.site]
            shown = next((one for one in week if len(self.captured.brief(history.site, one))), None)
            if len(mine):
                return Beside(f"its own week of reference, {found.days}", shown, mine)
        calm = history.until(day - timedelta(1)).last_calm_day
        if calm is not None:
            rows = drift.prepare(self.captured.wide(history.site, calm), _no_labels())
            return Beside(f"its own last calm day, {calm}", calm, rows)
        if found is not None:
            return Beside("the champion's validation data", None, found.rows)
        return Beside("nothing", None, None)

    def changes(self, site: str, day: date, beside: Beside) -> list[FeatureChange]:
        """The features of a day that differ most from what it is compared with."""
        if beside.rows is None:
            return []
        rows = drift.prepare(self.captured.wide(site, day), _no_labels())
        distances = sorted(measure_distances(rows, beside.rows).items(), key=lambda item: -item[1])
        return [
            FeatureChange(
                in_words(name),
                float(rows[name].median()),
                float(beside.rows[name].median()),
                distance,
                distance > SITE_DISTANCE_LIMIT,
            )
            for name, distance in distances[:_MOST_CHANGES]
        ]

    def _load_reference(self) -> Reference | None:
        """The reference in force; None: the champion has none that can be read."""
        version = tuple(self._reports.versions("reference/").items())

        def load() -> Reference | None:
            try:
                return mail_reference.load(mail_reference.CHAMPION, self._reports)
            except (ReferenceMissing, ValueError):
                return None

        return self._reference.get("reference", version, load)

    def _shown(self, site: str, day: date, rows: pd.DataFrame) -> list[Picture]:
        pictures = [
            Picture((str(row.read_id), int(row.crop_index)), day, _answer(row))
            for row in rows.itertuples()
        ]
        self.captured.show(site, day, [one.crop for one in pictures])
        return pictures


def days_of(known: Mapping[str, SiteHistory]) -> list[date]:
    """The newest days that have a report, oldest first."""
    days = {one.day for history in known.values() for one in history.days}
    return sorted(days)[-DAYS_SHOWN:]


def recent_days(history: SiteHistory) -> list[date]:
    """Where a site's newest reads may be, newest first: its reported days, and those since."""
    today = datetime.now(UTC).date()
    reported = [one.day for one in reversed(history.days)]
    return sorted({today, today - timedelta(1), *reported[:7]}, reverse=True)


def cost_of(
    history: SiteHistory, day: SiteDay | None, estimate: AuditEstimate | None
) -> list[Costed]:
    """A day's findings, costliest first."""
    if day is None:
        return []
    return cost_findings(
        day.findings,
        num_reads=day.num_reads,
        reject_share=day.reject_share,
        usual_reject_share=history.until(day.day).usual_reject_share,
        estimate=estimate,
    )


def _answer(row: Any) -> str:
    if pd.isna(row.digit):
        return "blank"
    because = "" if row.accepted else f", {str(row.rejected_because).replace('_', ' ')}"
    return f"{int(row.digit)} at {row.confidence:.0%}{because}"


def _no_labels() -> pd.DataFrame:
    return LABEL_SCHEMA.empty_table().to_pandas()
