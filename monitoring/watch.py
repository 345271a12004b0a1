"""Makes a report every day without a scheduler: what AWS does with a schedule, for one machine."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from capture import archive
from capture.archive import Window
from capture.compaction import compact, expire
from capture.reference import Reference
from monitoring import alerts, report
from monitoring.report import Places

log = logging.getLogger(__name__)

REPORT_AT_UTC_HOUR = 1  # late segments of the day before have arrived
RETRY_S = 300.0


def watch(
    places: Places,
    load: Callable[[], Reference],
    stop: threading.Event,
    *,
    emit: Callable[[str], None],
    keep_days: int,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """Report on each day once it is over, catching up on days missed, until told to stop.

    Also merges the day's files, deletes what is past its retention, and delivers waiting alerts.
    What fails is logged, told as a missing report, and tried again after `RETRY_S`. A report
    under way when it is told to stop is finished; days missed after it wait for the next start.
    """
    is_first = True
    while not stop.is_set():
        today = (now() - timedelta(hours=REPORT_AT_UTC_HOUR)).date()
        try:
            if is_first:  # it may have been killed between a report and its place there
                report.rebuild_calendar(places.reports, today=today)
                is_first = False
            for day in unreported(places, today=today):
                if stop.is_set():
                    return
                compact(places.captures, day)
                report.run(places, Window(day, day), load(), emit=emit, today=today)
            expire(places.captures, keep_days=keep_days, today=today)
        except (OSError, ValueError) as error:
            log.exception("no report: %s", error)  # noqa: TRY401 - the reason in one line, too
            _tell(places, today)
        if alerts.flush(places.reports):
            log.warning("alerts are waiting for a sink")
        stop.wait(RETRY_S)


def unreported(places: Places, *, today: date) -> list[date]:
    """Days of the last week that have records and no report, and yesterday in any case."""
    days = Window(today - timedelta(report.LOOK_BACK_DAYS), today - timedelta(1)).days()
    return [
        day
        for day in days
        if not report.has_report(places.reports, day)
        and (day == days[-1] or places.captures.find(f"{archive.RECORDS}/day={day}/"))
    ]


def _tell(places: Places, today: date) -> None:
    try:
        summaries = report.rebuild_calendar(places.reports, today=today)
        report.tell_missing(places, summaries, today=today)
    except OSError as error:
        log.error("cannot tell: %s", error)  # noqa: TRY400 - told every RETRY_S
