"""Report summaries -> the values of two pages: one window, and the calendar of all days. Pure."""

from __future__ import annotations

import calendar
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from capture.erasure import picture_name
from monitoring import rules, site_rules
from monitoring.drift import Unusual
from monitoring.findings import in_words
from pages.chart import Chart, Line
from pages.templating import render

Summary = dict[str, Any]  # what report.json holds

MONTHS_SHOWN: Final = 3
DAYS_OF_TREND: Final = 90
REPORTS_LISTED: Final = 30
DAYS_OF_GRID: Final = 30
SITES_LISTED: Final = 60
STATES: Final = ("calm", "watch", "act")  # by severity


@dataclass(frozen=True, slots=True)
class Verdict:
    """One report in one line."""

    window: str
    state: str  # calm, watch, act, insufficient
    text: str


@dataclass(frozen=True, slots=True)
class Day:
    """A cell of the calendar."""

    day: date
    verdict: Verdict | None
    is_missing: bool


@dataclass(frozen=True, slots=True)
class Month:
    """A month of the calendar; `num_blank` cells come before its first day."""

    name: str
    num_blank: int
    days: Sequence[Day]


@dataclass(frozen=True, slots=True)
class SiteGrid:
    """Sites and days: the state of each, None where there is none; most red days first."""

    days: Sequence[date]
    rows: Sequence[tuple[str, Sequence[str | None]]]


def calendar_page(summaries: Sequence[Summary], *, today: date) -> str:
    """The latest verdict, three months of days, trends, and the list of reports."""
    days = [one for one in summaries if one["first"] == one["last"]]
    by_day = {date.fromisoformat(one["first"]): _verdict(one) for one in days}
    last = date.fromisoformat(summaries[-1]["last"]) if summaries else today
    grid_days = sorted(by_day)[-DAYS_OF_GRID:]
    return render(
        "drift_calendar.html",
        title="Digitline drift",
        verdicts=[_verdict(one) for one in reversed(summaries[-REPORTS_LISTED:])],
        age_days=(today - last).days,
        months=_months(by_day, today),
        grid=site_grid(days, grid_days),
        charts=_trends([one for one in days if one["enough"]], today),
    )


def site_grid(summaries: Sequence[Summary], days: Sequence[date]) -> SiteGrid:
    """The traffic light of each site on some days.

    Args:
        summaries: oldest first; those of several days are left out.
        days: the columns.
    """
    lights: dict[str, dict[date, str]] = {}
    for summary in summaries:
        day = date.fromisoformat(summary["first"])
        if summary["first"] != summary["last"] or day not in days:
            continue
        for site in summary.get("num_stored_by_site", {}):  # older reports did not note it
            lights.setdefault(site, {})[day] = "insufficient"
        for site, severity in _worst_by_site(summary).items():
            lights.setdefault(site, {})[day] = STATES[severity]
    worst = ("act", "watch")
    rows = sorted(
        lights.items(),
        key=lambda item: ([-list(item[1].values()).count(state) for state in worst], item[0]),
    )
    return SiteGrid(tuple(days), tuple((site, tuple(map(of.get, days))) for site, of in rows))


def window_page(summary: Summary, unusual: Sequence[Unusual]) -> str:
    """One window: verdict, findings, what to do, unusual crops, sites, features."""
    worst = _worst_by_site(summary)
    most = max([*summary["distances"].values(), 2 * rules.DISTANCE_LIMIT])
    return render(
        "drift_window.html",
        title=f"Drift {summary['window']}",
        verdict=_verdict(summary),
        summary=summary,
        audited=wrong_among_accepted(summary),
        states=STATES,
        rules=rules,
        site_rules=site_rules,
        in_words=in_words,
        site_limit=SITES_LISTED + 1,
        crops=[(picture_name(one.read_id, one.crop_index), one) for one in unusual],
        sites=sorted(
            ((worst[one["site"]], one) for one in summary["sites"]),
            key=lambda pair: (-pair[0], -(pair[1]["reject_share"] or 0), -pair[1]["distance"]),
        )[:SITES_LISTED],
        distances=sorted(summary["distances"].items(), key=lambda item: -item[1]),
        most_distance=most,
    )


def failed_page(window: str, reason: str) -> str:
    """What stands in place of Evidently's page when Evidently failed."""
    return render("drift_failed.html", title=f"Drift {window}", window=window, reason=reason)


def _verdict(summary: Summary) -> Verdict:
    state = STATES[summary["severity"]] if summary["enough"] else "insufficient"
    return Verdict(summary["window"], state, _sentence(summary))


def _sentence(summary: Summary) -> str:
    if not summary["enough"]:
        return (
            f"{summary['num_records']} records; at least {rules.MIN_RECORDS} are needed to tell "
            "drift from chance."
        )
    if not summary["findings"]:
        return "Nothing stands out."
    more = len(summary["findings"]) - 1
    text = str(summary["findings"][0]["text"])
    return f"{text[0].upper()}{text[1:]}{f' (and {more} more)' if more else ''}."


def _worst_by_site(summary: Summary) -> dict[str, int]:
    worst = {one["site"]: 0 for one in summary["sites"]}
    for finding in summary["findings"]:
        if finding["site"] in worst:
            worst[finding["site"]] = max(worst[finding["site"]], finding["severity"])
    return worst


def _months(by_day: Mapping[date, Verdict], today: date) -> list[Month]:
    begun = min(by_day, default=today)
    firsts = [today.replace(day=1)]
    while len(firsts) < MONTHS_SHOWN and begun < firsts[-1]:
        firsts.append((firsts[-1] - timedelta(1)).replace(day=1))
    months = []
    for first in firsts:
        num_days = calendar.monthrange(first.year, first.month)[1]
        days = [first + timedelta(number) for number in range(num_days)]
        cells = [Day(day, by_day.get(day), is_missing=begun < day < today) for day in days]
        months.append(Month(f"{first:%B %Y}", first.weekday(), cells))
    return months


def _trends(days: Sequence[Summary], today: date) -> list[tuple[Chart, str]]:
    """Charts, each with its last value in words; none before there are two days."""
    begin = today - timedelta(DAYS_OF_TREND)
    days = [one for one in days if date.fromisoformat(one["first"]) >= begin]
    if len(days) < 2:
        return []
    limits = [rules.DISTANCE_LIMIT] * len(days)
    charts = [
        _trend(
            "Rejected",
            days,
            [_percent(one["reject_share"]) for one in days],
            unit="%",
            limit=("expected", [_percent(one["expected_reject_share"]) for one in days]),
        ),
        _trend(
            "Largest distance",
            days,
            [max(one["distances"].values(), default=0) for one in days],
            limit=("limit", limits),
        ),
        _trend("Records", days, [one["num_stored"] for one in days]),
        _trend("p99 latency", days, [one["p99_ms"] or 0 for one in days], unit=" ms"),
    ]
    audited = [one for one in days if wrong_among_accepted(one) is not None]
    if len(audited) > 1:
        wrong = [_percent((wrong_among_accepted(one) or {})["error"]) for one in audited]
        span = (0.0, max(*wrong, 1.0))  # without a wrong read, an axis of no height
        charts.append(_trend("Wrong among accepted, by audit", audited, wrong, unit="%", span=span))
    return charts


def wrong_among_accepted(summary: Summary) -> dict[str, Any] | None:
    """The audit's estimate over all sites; None where nothing is audited, or by an older report."""
    overall = next(iter(summary.get("audits", [])), None)
    return None if overall is None or overall["error"] is None else overall


def _percent(share: float | None) -> float:
    return 100 * (share or 0.0)


def _trend(
    name: str,
    days: Sequence[Summary],
    values: Sequence[float],
    *,
    unit: str = "",
    limit: tuple[str, Sequence[float]] | None = None,
    span: tuple[float, float] | None = None,
) -> tuple[Chart, str]:
    """A line over days, a dashed limit, and the last value in words."""
    first = date.fromisoformat(days[0]["first"])
    since = [float((date.fromisoformat(one["first"]) - first).days) for one in days]
    lines, aside = [Line(name, since, values)], ""
    if limit is not None:
        limit_name, limits = limit
        lines.append(Line(limit_name, since, limits, is_limit=True))
        aside = f" ({limit_name} {limits[-1]:.3g}{unit})"
    x_max = max(since[-1], 1.0)
    marks = [(0.0, days[0]["first"]), (x_max, days[-1]["first"])]
    chart = Chart(name, lines, x_max=x_max, x_marks=marks, y_span=span, is_small=True)
    return chart, f"{values[-1]:,.4g}{unit}{aside}"
