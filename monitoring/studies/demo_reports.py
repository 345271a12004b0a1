"""The drift reports of the demo: each of the last days beside a clean week that was adopted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Final

from capture import reference
from capture.archive import Window
from capture.store import Store
from monitoring import mail_reference, report
from monitoring.report_store import ReportLocations

_ADOPTED_DAYS: Final = 7
_REPORTED_DAYS: Final = 8


def report_last_days(
    captures: Store,
    reports: Store,
    *,
    sink: str,
    reports_url: str,
    today: date,
    first_clean: date,
    num_days: int,
    say: Callable[[str], None],
) -> None:
    """Adopt a clean week as the reference, then report on the days before today.

    Args:
        captures: the archive.
        reports: where the reports go.
        sink: where alerts go.
        reports_url: in alerts.
        today: the day after the last report.
        first_clean: the first day of the week that is adopted.
        num_days: at most so many reports.
        say: told each verdict.
    """
    week = Window(first_clean, first_clean + timedelta(_ADOPTED_DAYS - 1))
    _adopt(captures, reports, week)
    locations = ReportLocations(captures, reports, reports_url, sinks=(sink,))
    for back in range(min(_REPORTED_DAYS, num_days), 0, -1):
        day = today - timedelta(days=back)
        in_force = mail_reference.load(mail_reference.CHAMPION, reports)
        found = report.run(
            locations, Window(day, day), in_force, emit=lambda _: None, today=day + timedelta(1)
        )
        verdict = found.severity.name.lower() if found.enough else "too little to judge"
        say(f"report of {day}: {verdict}")


def _adopt(captures: Store, reports: Store, window: Window) -> None:
    champion = reference.load(mail_reference.CHAMPION)
    try:
        week = mail_reference.read_week(captures, window, champion)
    except ValueError:  # a small demo: the champion's validation data counts
        return
    mail_reference.adopt(reports, mail_reference.make(week, window, champion))
