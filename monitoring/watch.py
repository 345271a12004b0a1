"""Makes a report every day, for a single machine without a scheduler."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from capture import archive
from capture.archive import Window
from capture.compaction import compact, expire
from capture.kept_crops import keep_labelled
from capture.labels import compact_labels
from capture.reference import Reference
from monitoring import alerts, report
from monitoring.report_store import ReportLocations
from monitoring.steady_day import SteadyDay

log = logging.getLogger(__name__)

REPORT_AT_UTC_HOUR = 1  # by then the late segments of the previous day have arrived
RETRY_S = 300.0


def watch(
    locations: ReportLocations,
    load: Callable[[], Reference],
    stop: threading.Event,
    *,
    emit: Callable[[str], None],
    keep_days: int,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """Report on each finished day, including missed ones, until `stop` is set.

    Also merges the day's files, keeps labelled crops, deletes expired records and delivers waiting
    alerts. A failure is logged, sent as a "missing report" event and retried after `RETRY_S`. When
    `stop` is set, the current report is finished; the remaining days wait for the next start.
    """
    is_first, steady = True, SteadyDay()
    while not stop.is_set():
        today = steady.day((now() - timedelta(hours=REPORT_AT_UTC_HOUR)).date())
        try:
            if is_first:  # the last run may have been killed before it updated the calendar
                report.rebuild_calendar(locations.reports, today=today)
                is_first = False
            for day in unreported(locations, today=today):
                if stop.is_set():
                    return
                compact(locations.captures, day)
                compact_labels(locations.captures)
                report.run(locations, Window(day, day), load(), emit=emit, today=today)
            keep_labelled(locations.captures)
            expire(locations.captures, keep_days=keep_days, today=today)
        except (OSError, ValueError) as error:
            log.exception("report failed: %s", error)  # noqa: TRY401 - the reason on the first line too
            _notify(locations, today)
        if alerts.flush(locations.reports):
            log.warning("some alerts are not delivered yet")
        stop.wait(RETRY_S)


def unreported(locations: ReportLocations, *, today: date) -> list[date]:
    """Days of the last week with records and without a report; yesterday even without records."""
    days = Window(today - timedelta(report.LOOK_BACK_DAYS), today - timedelta(1)).days()
    return [
        day
        for day in days
        if not report.has_report(locations.reports, day)
        and (day == days[-1] or locations.captures.find(f"{archive.RECORDS}/day={day}/"))
    ]


def _notify(locations: ReportLocations, today: date) -> None:
    try:
        summaries = report.rebuild_calendar(locations.reports, today=today)
        report.notify_missing(locations, summaries, today=today)
    except OSError as error:
        log.error("cannot notify: %s", error)  # noqa: TRY400 - repeats every RETRY_S
