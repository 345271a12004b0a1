"""One window, end to end: read, judge, write the report, rebuild the calendar, notify.

reports/2026-11-20/index.html, evidently.html, evidently.json, report.json, FINGERPRINT.png
reports/index.html    the calendar
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import pandas as pd

from capture.archive import Window
from capture.erasure import picture_name
from capture.labels import read_labels
from capture.reference import Reference
from capture.sampling import read_pictures, read_sample
from capture.store import MissingKey, Store
from contract import costs, emf
from monitoring import alerts, audits, drift, drift_pages, rules, shadow_compare
from monitoring.audits import AuditEstimate
from monitoring.events import TO_DO, drift_event, missing_event
from monitoring.findings import Assessment
from monitoring.report_store import SUMMARY, ReportLocations, read_summaries

log = logging.getLogger(__name__)

HTML: Final = "text/html; charset=utf-8"
JSON: Final = "application/json"
MAX_ROWS: Final = 100_000  # read from a window of any size: about 60 MB
MIN_ROWS_PER_SITE: Final = 1_000
LOOK_BACK_DAYS: Final = 7
MIN_LABELS_FOR_COST: Final = 3_000  # fewer show an error of 0.1 % badly


def run(
    locations: ReportLocations,
    window: Window,
    reference: Reference,
    *,
    emit: Callable[[str], None],
    today: date,
) -> Assessment:
    """Make one report, then notify, update the calendar and emit the metrics.

    A report counts as done when its report.json exists. That is written after the notification, so
    a killed run is repeated; its event has the same id and replaces the one in the outbox.
    """
    assessment, summary = make(locations, window, reference)
    # Notify only for the newest window, and only with enough records to tell.
    if assessment.enough and _is_newest(locations.reports, window):
        link = f"{locations.reports_url}/{window}/index.html"
        alerts.notify(
            locations.reports,
            locations.sinks,
            drift_event(window, assessment, link),
            judged=[one.site for one in assessment.sites],
        )
    body = json.dumps(summary, indent=1)
    locations.reports.put(f"{window}/{SUMMARY}", body.encode(), content_type=JSON)
    summaries = rebuild_calendar(locations.reports, today=today)
    notify_missing(locations, summaries, today=today)
    emit(emf.line(_metrics(assessment)))
    return assessment


def make(
    locations: ReportLocations, window: Window, reference: Reference
) -> tuple[Assessment, dict[str, Any]]:
    """Judge a window and write its pages; a repeated run replaces them.

    Returns:
        The verdict, and the content of report.json.
    """
    labels = read_labels(locations.captures)
    sample = read_sample(
        locations.captures,
        window,
        columns=drift.CAPTURE_COLUMNS,
        max_rows=MAX_ROWS,
        min_rows_per_site=MIN_ROWS_PER_SITE,
        labels=labels,
    )
    rows, labelled, marked = (
        drift.prepare(part, labels) for part in (sample.rows, sample.labelled, sample.marked)
    )
    audited = audits.judged_marks(marked)
    fair = rows[rows["sample_key"] < sample.sample_below]
    assessment = rules.assess(fair, reference, by_site=rows, labelled=audited)
    folder = str(window)
    _clear(locations.reports, folder)
    unusual: list[drift.Unusual] = []
    if assessment.enough:
        _put_evidently(locations.reports, folder, fair, reference, audited)
        unusual = drift.find_pictures(rows, reference.rows, assessment.findings)
        _put_pictures(locations, window, unusual)
    estimates = audits.estimate(marked)
    summary = summarise(window, assessment, sample.num_stored, reference, fair, estimates)
    summary |= _labels_in_words(estimates, labelled)
    summary["num_stored_by_site"] = dict(sorted(sample.num_by_site.items()))
    compared = [asdict(one) for one in shadow_compare.compare(rows)]
    summary["challengers"] = _without_nan(compared)
    page = drift_pages.window_page(summary, unusual)
    locations.reports.put(f"{folder}/index.html", page.encode(), content_type=HTML)
    return assessment, summary


def _put_evidently(
    reports: Store,
    folder: str,
    fair: pd.DataFrame,
    reference: Reference,
    labelled: pd.DataFrame,
) -> None:
    """Write Evidently's pages; where it fails, a page that says so, because the verdict stands."""
    try:
        rendered = drift.render(fair, reference, labelled)
    except Exception as error:
        log.exception("Evidently cannot draw %s", folder)
        reason = f"{type(error).__name__}: {error}"
        page = drift_pages.failed_page(folder, reason)
        reports.put(f"{folder}/evidently.html", page.encode(), content_type=HTML)
        body = json.dumps({"failed": reason})
        reports.put(f"{folder}/evidently.json", body.encode(), content_type=JSON)
        return
    reports.put(f"{folder}/evidently.html", rendered.html.encode(), content_type=HTML)
    reports.put(f"{folder}/evidently.json", rendered.json.encode(), content_type=JSON)
    if rendered.labelled_html is not None:
        reports.put(f"{folder}/labelled.html", rendered.labelled_html.encode(), content_type=HTML)


def _is_newest(reports: Store, window: Window) -> bool:
    folders = [key.split("/")[0] for key in reports.find("") if key.endswith(f"/{SUMMARY}")]
    return all(folder.split("..")[-1] <= window.last.isoformat() for folder in folders)


def _clear(reports: Store, folder: str) -> None:
    """Delete what this run may not write again."""
    stale = (".png", "/labelled.html")
    reports.delete([key for key in reports.find(f"{folder}/") if key.endswith(stale)])


def _put_pictures(
    locations: ReportLocations, window: Window, unusual: Sequence[drift.Unusual]
) -> None:
    keys = [(one.read_id, one.crop_index) for one in unusual]
    if not keys:  # Arrow cannot look for none
        return
    pictures = read_pictures(locations.captures, window, keys)
    for read_id, crop_index in keys:
        if (read_id, crop_index) not in pictures.index:
            continue
        row = pictures.loc[(read_id, crop_index)]
        png = row["crop_png"] if row["crop_png"] is not None else row["image_png"]
        if png is not None:
            name = picture_name(read_id, crop_index)
            locations.reports.put(f"{window}/{name}", png, content_type="image/png")


def summarise(
    window: Window,
    assessment: Assessment,
    num_stored: int,
    reference: Reference,
    rows: pd.DataFrame,
    estimates: Sequence[AuditEstimate],
) -> dict[str, Any]:
    """The content of report.json: all that the pages show; it has no request id."""
    found = asdict(assessment)
    found["severity"] = int(assessment.severity)
    for finding in found["findings"]:
        finding["severity"] = int(finding["severity"])
    summary: dict[str, Any] = _without_nan(
        {
            "window": str(window),
            "first": window.first.isoformat(),
            "last": window.last.isoformat(),
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "num_stored": num_stored,
            "model_versions": sorted(rows["model_version"].dropna().unique()),
            "reference_version": reference.model_version,
            "reference_days": reference.days,
            "digits": {str(k): int(v) for k, v in rows["digit"].value_counts().items()},
            "to_do": TO_DO[assessment.severity],
            **_euros(assessment, estimates),
            **found,
        }
    )
    return summary


def _labels_in_words(estimates: Sequence[AuditEstimate], labelled: pd.DataFrame) -> dict[str, Any]:
    """What audits say of accepted reads and labels of rejected ones; the two are never mixed."""
    keyed = labelled[labelled["accepted"].eq(False) & labelled["label"].notna()]  # noqa: FBT003
    found: dict[str, Any] = _without_nan(
        {
            "audits": [asdict(one) for one in estimates],
            "num_rejects_labelled": len(keyed),
            "num_rejects_right": int((keyed["digit"] == keyed["label"]).sum()),
        }
    )
    return found


def _euros(assessment: Assessment, estimates: Sequence[AuditEstimate]) -> dict[str, Any]:
    """What a million reads like these cost, and where its share of wrong reads comes from."""
    accepted_frac = 1 - assessment.reject_share  # NaN where no verdict is known
    overall = next(iter(estimates), None)  # of all sites; one figure for the whole page
    error, is_measured = costs.PROMISED_ERROR_FRAC, False
    if overall is not None and overall.num_judged >= MIN_LABELS_FOR_COST:
        error, is_measured = overall.error, True
    return {
        "euros_per_million": costs.DEFAULT.euros_per_million(
            assessment.reject_share, accepted_frac * error
        ),
        "accepted_error_frac": error,
        "accepted_error_is_measured": is_measured,
    }


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def rebuild_calendar(reports: Store, *, today: date) -> list[dict[str, Any]]:
    """Write index.html from all report.json files; returns these, oldest first."""
    summaries = read_summaries(reports)
    page = drift_pages.calendar_page(summaries, today=today)
    reports.put("index.html", page.encode(), content_type=HTML)
    return summaries


def missing_days(summaries: Sequence[dict[str, Any]], *, today: date) -> list[date]:
    """Days of the last week that no report covers, from the first report on."""
    if not summaries:
        return []
    covered = {
        day
        for one in summaries
        for day in Window(date.fromisoformat(one["first"]), date.fromisoformat(one["last"])).days()
    }
    first = max(min(covered), today - timedelta(LOOK_BACK_DAYS))
    if first >= today:
        return []
    return [day for day in Window(first, today - timedelta(1)).days() if day not in covered]


def notify_missing(
    locations: ReportLocations, summaries: Sequence[dict[str, Any]], *, today: date
) -> bool:
    """Notify when a report is missing, and again when none is."""
    event = missing_event(
        missing_days(summaries, today=today),
        today=today,
        num_days=LOOK_BACK_DAYS,
        link=f"{locations.reports_url}/index.html",
    )
    return alerts.notify(locations.reports, locations.sinks, event)


def _metrics(assessment: Assessment) -> dict[str, float]:
    metrics = {
        "DriftSeverity": float(assessment.severity),
        "DriftReportCompleted": 1.0,
        "DriftRecords": float(assessment.num_records),
    }
    if math.isfinite(assessment.reject_share):
        metrics["RejectShare"] = 100 * assessment.reject_share
    return metrics


def has_report(reports: Store, day: date) -> bool:
    """Whether a day has its own report."""
    try:
        reports.get(f"{day}/{SUMMARY}")
    except MissingKey:
        return False
    return True
