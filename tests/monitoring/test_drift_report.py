from __future__ import annotations

import json
import logging
import re
import threading
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from made_records import NOON

from capture import archive
from capture.archive import Window
from capture.erasure import erase_pictures, picture_name
from capture.label_event import LabelEvent
from capture.labels import add_events
from capture.parquet_schema import SCHEMA
from capture.predictions import Predictions
from capture.reference import Reference, build, to_parquet
from capture.rows import day_of, to_table
from capture.sampling import SYNTHETIC_SITE
from capture.store import StoreError, open_store
from contract import costs
from monitoring import drift_pages, report, watch
from monitoring.__main__ import main
from monitoring.audits import AuditEstimate
from monitoring.findings import Assessment, Severity
from monitoring.report import missing_days
from monitoring.report_store import ReportLocations

DAY = date(2026, 11, 20)
WINDOW = Window(DAY, DAY)
TODAY = date(2026, 11, 21)


@pytest.fixture(scope="module")
def mail(make_record):
    """600 records of two sites, and the reference that they look like."""
    records = [make_record(n, site=("leeds", "york")[n % 2]) for n in range(600)]
    predictions = Predictions(
        model_version="3",
        threshold=0.9,
        garbage_threshold=0.0,
        crops=[record.crop for record in records],
        images=np.stack([record.image for record in records]),
        probs=np.array([record.probs for record in records], np.float32),
        garbage=np.full(600, -4, np.float32),
        labels=np.array([record.digit for record in records]),
    )
    made = build(predictions)
    made.rows["aspect"], made.rows["num_dropped"] = 0.7, 0.0  # as the records say
    return records, made


@pytest.fixture
def locations(tmp_path) -> ReportLocations:
    return ReportLocations(
        captures=open_store(str(tmp_path / "captures")),
        reports=open_store(str(tmp_path / "reports")),
        reports_url="https://reports.example",
        sinks=(f"file:{tmp_path / 'alerts.jsonl'}",),
    )


def fill(store, records, day=DAY, *, audit_probability=0.0) -> None:
    moved = int((datetime.combine(day, NOON.time(), UTC) - NOON).total_seconds() * 1e6)
    groups = defaultdict(list)
    for record in records:
        groups[day_of(record.time_us), record.site].append(record)
    for (on, site), group in groups.items():
        rows = to_table(group).to_pandas()
        rows["time"] += timedelta(microseconds=moved)
        rows["read_id"] = str(day) + rows["read_id"]
        rows["audit_probability"] = np.where(rows["accepted"], audit_probability, 0.0)
        rows["sample_key"] = [archive.sample_key(one, 0) for one in rows["read_id"]]
        table = pa.Table.from_pandas(rows, SCHEMA, preserve_index=False)
        key = f"{archive.partition(str(day), site)}/{on}.parquet"
        store.put(key, archive.encode(table), content_type=archive.PARQUET)


def label(locations, records, labels, how="keyed") -> None:
    """Label the first crops of records that `fill` stored."""
    events = [
        LabelEvent(f"{DAY}{record.request_id}", 0, str(said), "ada", 1, how)
        for record, said in zip(records, labels, strict=True)
    ]
    add_events(locations.captures, events)


def run(locations, made, window=WINDOW, today=TODAY):
    emitted: list[str] = []
    assessment = report.run(locations, window, made, emit=emitted.append, today=today)
    return assessment, json.loads(emitted[0])


def page(locations, key: str) -> str:
    return locations.reports.get(key).decode()


def alerts_in(locations) -> list[dict]:
    return [
        json.loads(locations.reports.get(key))["event"]
        for key in locations.reports.find("alerts/outbox/")
    ]


def test_a_calm_day_has_a_page_an_evidently_report_and_a_calendar_entry(locations, mail):
    records, made = mail
    fill(locations.captures, records)
    assessment, metrics = run(locations, made)
    assert assessment.severity == Severity.CALM, assessment.findings
    files = locations.reports.find("2026-11-20/")
    for name in ("index.html", "evidently.html", "evidently.json", "report.json"):
        assert f"2026-11-20/{name}" in files
    assert "Nothing stands out." in page(locations, "2026-11-20/index.html")
    assert 'class="calm" href="2026-11-20/index.html"' in page(locations, "index.html")
    assert alerts_in(locations) == []
    assert metrics["DriftSeverity"] == 0
    assert metrics["DriftReportCompleted"] == 1
    directive = metrics["_aws"]["CloudWatchMetrics"][0]
    assert directive["Namespace"] == "Digitline"
    assert directive["Dimensions"] == [["Service"]]
    assert {one["Name"] for one in directive["Metrics"]} <= metrics.keys()


def test_synthetic_reads_are_in_no_report(locations, mail, make_record):
    records, made = mail
    fill(locations.captures, [replace(one, site=SYNTHETIC_SITE) for one in records])
    _, metrics = run(locations, made)
    assert metrics["DriftRecords"] == 0


def test_a_day_of_rejects_sends_an_alert_with_a_link_and_what_to_do(locations, mail, make_record):
    records, made = mail
    rejected = [
        make_record(n, accepted=False, rejected_because="low_confidence") for n in range(600, 800)
    ]
    fill(locations.captures, [*records, *rejected])
    assessment, metrics = run(locations, made)
    assert assessment.severity == Severity.ACT
    assert metrics["DriftSeverity"] == 2
    assert metrics["RejectShare"] == 25.0
    (event,) = alerts_in(locations)
    assert event["link"] == "https://reports.example/2026-11-20/index.html"
    assert "docs/monitoring.md" in event["to_do"]
    assert "site leeds rejects 40.0% of its crops" in event["details"][0]
    assert any("25.0% of crops are rejected" in one for one in event["details"])


def test_a_site_has_the_badge_of_its_worst_finding(locations, mail, make_record):
    records, made = mail
    dirty = [
        make_record(n, site="south", accepted=False, rejected_because="low_confidence")
        for n in range(600, 850)
    ]
    fill(locations.captures, [*records, *dirty])
    assessment, _ = run(locations, made)
    assert {one.severity for one in assessment.findings if one.site == "south"} >= {Severity.ACT}
    sites = page(locations, "2026-11-20/index.html").partition("<h2>Sites</h2>")[2]
    badge = sites.partition(">south<")[2].partition("</td>")[0]
    assert 'class="badge act"' in badge


def test_too_few_records_make_a_page_and_no_alert(locations, mail):
    records, made = mail
    fill(locations.captures, records[:499])
    assessment, metrics = run(locations, made)
    assert not assessment.enough
    assert "insufficient data" in page(locations, "2026-11-20/index.html")
    assert 'class="insufficient"' in page(locations, "index.html")
    assert alerts_in(locations) == []
    assert metrics["DriftRecords"] == 499


def test_a_day_without_any_mail_is_reported_too(locations, mail):
    assessment, _ = run(locations, mail[1])
    assert assessment.num_records == 0
    assert "0 records" in page(locations, "2026-11-20/index.html")


def test_unusual_crops_are_pictures_beside_the_page_and_can_be_erased(
    locations, mail, make_record, tmp_path
):
    records, made = mail
    odd = make_record(700, crop=np.tile(np.uint8([0, 255]), (300, 20)))
    fill(locations.captures, [*records, odd])
    run(locations, made)
    read_id = f"{DAY}{odd.read_id}"
    name = picture_name(read_id, 0)
    assert name in page(locations, "2026-11-20/index.html")
    assert locations.reports.get(f"2026-11-20/{name}").startswith(b"\x89PNG")
    for key in locations.reports.find("2026-11-20/"):
        assert read_id.encode() not in locations.reports.get(key), key
    assert erase_pictures(locations.reports, read_id) == 1


def test_pictures_of_the_named_site_come_first(locations, mail, make_record):
    records, made = mail
    pale = np.full((40, 32), 250, np.uint8)
    pale[8:32, 12:18] = 200
    dirty = [make_record(n, site="bonn-1", crop=pale) for n in range(600, 900)]
    fill(locations.captures, [*records, *dirty])
    run(locations, made)
    text = page(locations, "2026-11-20/index.html")
    assert "Site bonn-1 looks dirty" in text
    captions = re.findall(r"<br>([^:<]+): ", text)
    assert captions[:4] == ["bonn-1"] * 4


def test_running_a_day_again_leaves_the_same_files(locations, mail):
    records, made = mail
    fill(locations.captures, records)
    run(locations, made)
    before = locations.reports.find("")
    run(locations, made)
    assert locations.reports.find("") == before


def test_a_repeated_old_day_notifies_nobody(locations, mail, make_record):
    records, made = mail
    before = DAY - timedelta(1)
    fill(locations.captures, records)
    rejected = [make_record(n, accepted=False) for n in range(600, 800)]
    fill(locations.captures, [*records, *rejected], day=before)
    run(locations, made)
    assessment, _ = run(locations, made, Window(before, before))
    assert assessment.severity == Severity.ACT
    assert alerts_in(locations) == []


@pytest.mark.parametrize("cut_off_at", ["alerts/outbox/", "alerts/state.json", "report.json"])
def test_a_run_killed_anywhere_is_repeated_and_notifies_once(
    locations, mail, make_record, monkeypatch, cut_off_at
):
    records, made = mail
    rejected = [
        make_record(n, accepted=False, rejected_because="low_confidence") for n in range(600, 800)
    ]
    fill(locations.captures, [*records, *rejected])
    put = type(locations.reports).put

    def cut_off(store, key, data, **options):
        if cut_off_at in key:
            raise StoreError("the power went")
        put(store, key, data, **options)

    monkeypatch.setattr(type(locations.reports), "put", cut_off)
    with pytest.raises(StoreError, match="the power went"):
        run(locations, made)
    monkeypatch.undo()
    assert not report.has_report(locations.reports, DAY)
    run(locations, made)
    assert report.has_report(locations.reports, DAY)
    assert [event["topic"] for event in alerts_in(locations)] == ["drift"]


def test_labels_that_arrived_are_judged(locations, mail):
    records, made = mail
    fill(locations.captures, records, audit_probability=0.5)
    said = [(one.digit + (n < 30)) % 10 for n, one in enumerate(records)]
    label(locations, records, said, how="audit")
    assessment, _ = run(locations, made)
    assert assessment.num_labels == 600
    assert assessment.accuracy == pytest.approx(0.95)
    assert assessment.severity == Severity.ACT
    assert "labelled.html" in page(locations, "2026-11-20/index.html")


def test_a_page_has_one_figure_of_wrong_among_accepted(locations, mail):
    """Marks have different probabilities, so the plain share of wrong audits would be another."""
    records, made = mail
    fill(locations.captures, records[::2], audit_probability=0.5)  # leeds
    fill(locations.captures, records[1::2], audit_probability=0.05)  # york
    said = [(one.digit + (n < 60 and n % 2 == 0)) % 10 for n, one in enumerate(records)]
    label(locations, records, said, how="audit")
    run(locations, made)
    summary = json.loads(page(locations, "2026-11-20/report.json"))
    error = summary["audits"][0]["error"]
    assert error == pytest.approx(30 / 0.5 / (300 / 0.5 + 300 / 0.05))
    text = page(locations, "2026-11-20/index.html")
    tile = text.split("audited reads; 95% interval")[0].rpartition('<div class="number">')[2]
    assert f"<b>{error:.2%}</b>" in tile
    assert "95.00%" not in text


def test_labels_that_are_no_audit_judge_no_accepted_read(locations, mail):
    records, made = mail
    fill(locations.captures, records, audit_probability=0.5)
    label(locations, records, [(record.digit + 1) % 10 for record in records])
    assessment, _ = run(locations, made)
    assert assessment.num_labels == 0
    assert assessment.severity == Severity.CALM
    assert "2026-11-20/labelled.html" not in locations.reports.find("2026-11-20/")


def test_the_page_has_wrong_among_accepted_by_site_and_over_all(locations, mail):
    records, made = mail
    fill(locations.captures, records, audit_probability=0.5)
    said = [(one.digit + (n < 30)) % 10 for n, one in enumerate(records)]
    label(locations, records, said, how="audit")
    run(locations, made)
    summary = json.loads(page(locations, "2026-11-20/report.json"))
    assert [(one["site"], one["num_judged"], one["num_wrong"]) for one in summary["audits"]] == [
        ("", 600, 30), ("leeds", 300, 15), ("york", 300, 15),
    ]  # fmt: skip
    shown = page(locations, "2026-11-20/index.html").partition(
        "<h2>Wrong among accepted, by audit</h2>"
    )[2]
    assert "5.00%" in shown.partition("all sites")[2].partition("</tr>")[0]


def test_labels_of_rejected_crops_are_told_apart_from_audits(locations, mail, make_record):
    records, made = mail
    rejected = [
        make_record(n, accepted=False, rejected_because="low_confidence") for n in range(600, 620)
    ]
    fill(locations.captures, [*records, *rejected], audit_probability=0.5)
    label(locations, rejected, [(one.digit + (n < 5)) % 10 for n, one in enumerate(rejected)])
    assessment, _ = run(locations, made)
    assert assessment.num_labels == 0
    text = page(locations, "2026-11-20/index.html")
    assert "20 rejected crops have a label; the most probable digit was right in 15" in text


@pytest.mark.parametrize(
    ("num_labels", "error", "words"),
    [(2_999, 0.001, "0.10% wrong among accepted (promised, not measured)"),
     (3_000, 0.05, "5.00% wrong among accepted (measured by the audit)")],
)  # fmt: skip
def test_the_report_says_what_a_million_reads_cost_and_where_the_error_is_from(
    num_labels, error, words
):
    assessment = Assessment(
        600, enough=True, severity=Severity.CALM, reject_share=0.1, expected_reject_share=0.1,
    )  # fmt: skip
    rows = pd.DataFrame({"model_version": ["3"], "digit": [7]})
    audited = [AuditEstimate("", num_labels, num_labels, 150, 0.05, 0.04, 0.06)]
    made = Reference(rows, "3", 0.9, 0.0)
    summary = report.summarise(WINDOW, assessment, 600, made, rows, audited)
    expected = 1e6 * (0.1 * costs.DEFAULT.reject_eur + 0.9 * error * costs.DEFAULT.wrong_read_eur)
    assert summary["euros_per_million"] == pytest.approx(expected)
    shown = drift_pages.window_page(summary, [])
    assert words in shown
    assert f"{expected:,.0f} EUR" in shown


def test_all_labels_are_judged_when_only_part_of_a_window_is_sampled(locations, mail, monkeypatch):
    records, made = mail
    fill(locations.captures, records, audit_probability=0.5)
    monkeypatch.setattr(report, "MAX_ROWS", 510)
    monkeypatch.setattr(report, "MIN_ROWS_PER_SITE", 0)
    least = sorted(records, key=lambda one: -archive.sample_key(f"{DAY}{one.request_id}", 0))
    label(locations, least[:110], [(record.digit + 1) % 10 for record in least[:110]], how="audit")
    assessment, _ = run(locations, made)
    assert assessment.num_records < 600
    assert assessment.num_labels == 110
    assert {finding.rule for finding in assessment.findings} >= {"labels", "confidence"}
    assert "mean confidence" in page(locations, "2026-11-20/index.html")
    assert "2026-11-20/labelled.html" in locations.reports.find("2026-11-20/")


def test_nothing_from_outside_reaches_the_pages_as_markup(locations, mail, make_record):
    records, made = mail
    evil = [make_record(n, site="<script>alert(1)</script>") for n in range(1_000, 1_300)]
    fill(locations.captures, [*records, *evil])
    run(locations, made)
    text = page(locations, "2026-11-20/index.html")
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_pages_fetch_nothing_and_have_every_file_they_link(locations, mail):
    records, made = mail
    fill(locations.captures, records)
    run(locations, made)
    files = set(locations.reports.find(""))
    for key, folder in (("index.html", ""), ("2026-11-20/index.html", "2026-11-20/")):
        text = page(locations, key)
        assert "http" not in re.sub(r"http-equiv", "", text)
        for link in re.findall(r'(?:href|src)="((?!data:)[^"]+)"', text):
            target = link.removeprefix("../") if link.startswith("../") else folder + link
            assert target in files, (key, link)


def summary(first: str, last: str | None = None) -> dict:
    return {"first": first, "last": last or first}


@pytest.mark.parametrize(
    ("reported", "missing"),
    [
        ([], []),
        ([summary("2026-11-20")], []),
        ([summary("2026-11-18"), summary("2026-11-20")], ["2026-11-19"]),
        ([summary("2026-11-17", "2026-11-19")], ["2026-11-20"]),
        ([summary("2026-09-01"), summary("2026-11-14", "2026-11-20")], []),
    ],
)
def test_days_without_a_report_are_found(reported, missing):
    assert [str(day) for day in missing_days(reported, today=TODAY)] == missing


def test_a_missing_report_sends_an_alert_and_closing_the_gap_ends_it(locations, mail):
    made = mail[1]
    for day in (DAY - timedelta(2), DAY):
        run(locations, made, Window(day, day), today=day + timedelta(1))
    assert [event["title"] for event in alerts_in(locations)] == ["No drift report for 2026-11-19"]
    run(locations, made, Window(DAY - timedelta(1), DAY - timedelta(1)))
    assert {event["severity"] for event in alerts_in(locations)} == {2, 0}


class OneRound(threading.Event):
    """Is set at its first wait."""

    def wait(self, timeout: float | None = None) -> bool:
        self.set()
        return True


def watch_once(locations, load, now) -> None:
    watch.watch(locations, load, OneRound(), emit=lambda _: None, keep_days=10, now=lambda: now)


class Rounds(threading.Event):
    """Is set at its last wait."""

    def __init__(self, num: int) -> None:
        super().__init__()
        self.num = num

    def wait(self, timeout: float | None = None) -> bool:
        self.num -= 1
        if self.num == 0:
            self.set()
        return True


def test_watch_deletes_nothing_by_a_clock_that_jumped_ahead(locations, mail, caplog):
    records, made = mail
    fill(locations.captures, records)
    found = locations.captures.find("records/")
    right = datetime(2026, 11, 21, 2, tzinfo=UTC)
    clock = iter([right, right + timedelta(365), right + timedelta(365), right])
    watch.watch(
        locations, lambda: made, Rounds(4), emit=lambda _: None, keep_days=10,
        now=lambda: next(clock),
    )  # fmt: skip
    assert len(locations.captures.find("records/")) > 0
    assert {key.split("/")[1] for key in locations.captures.find("records/")} == {
        key.split("/")[1] for key in found
    }
    assert "the clock jumped ahead from 2026-11-21 to 2027-11-21" in caplog.text


def test_a_new_watch_adds_reports_to_the_calendar_that_a_killed_one_left_out(locations, mail):
    records, made = mail
    fill(locations.captures, records)
    run(locations, made)
    locations.reports.delete(["index.html"])
    watch_once(locations, lambda: made, datetime(2026, 11, 21, 2, tzinfo=UTC))
    assert 'href="2026-11-20/index.html"' in page(locations, "index.html")


def test_watch_reports_missed_days_with_records_and_expires_the_archive(locations, mail):
    records, made = mail
    for back in (1, 3, 30):
        fill(locations.captures, records[:20], day=TODAY - timedelta(back))
    watch_once(locations, lambda: made, datetime(2026, 11, 21, 2, tzinfo=UTC))
    reported = {
        key.split("/")[0] for key in locations.reports.find("") if key.endswith("report.json")
    }
    assert reported == {"2026-11-20", "2026-11-18"}
    assert len(locations.captures.find("records/")) == 4  # two sites, two days: the old one expired


def test_a_day_is_not_reported_before_its_last_records_can_have_arrived(locations, mail):
    fill(locations.captures, mail[0][:20])
    watch_once(locations, lambda: mail[1], datetime(2026, 11, 21, 0, 30, tzinfo=UTC))
    assert not report.has_report(locations.reports, DAY)


def test_watch_survives_a_failed_report_and_notifies(locations, mail, caplog):
    run(locations, mail[1], Window(DAY - timedelta(1), DAY - timedelta(1)), today=DAY)

    def broken():
        raise StoreError("the reference is gone")

    with caplog.at_level(logging.ERROR):
        watch_once(locations, broken, datetime(2026, 11, 21, 2, tzinfo=UTC))
    assert "the reference is gone" in caplog.text
    told = Path(locations.sinks[0].removeprefix("file:"))
    assert "No drift report for 2026-11-20" in told.read_text()


def test_the_report_command_runs_every_step(tmp_path, mail, capsys, monkeypatch):
    records, made = mail
    fill(open_store(str(tmp_path / "captures")), records)
    (tmp_path / "reference.parquet").write_bytes(to_parquet(made))
    monkeypatch.setenv("DIGITS_CAPTURE_STORE", str(tmp_path / "captures"))
    monkeypatch.setenv("DIGITS_REPORTS", str(tmp_path / "reports"))
    monkeypatch.setenv("DIGITS_EMF", "on")
    reference = ["--reference", str(tmp_path / "reference.parquet")]
    assert main(["report", "--current", "2026-11-20", *reference]) == 0
    out = capsys.readouterr().out
    assert "2026-11-20: calm, 600 records" in out
    assert '"DriftReportCompleted": 1.0' in out
    assert (tmp_path / "reports" / "index.html").exists()


def test_an_undelivered_alert_makes_the_command_fail_after_its_work(
    tmp_path, mail, monkeypatch, make_record
):
    records, made = mail
    rejected = [make_record(n, accepted=False) for n in range(600, 800)]
    fill(open_store(str(tmp_path / "captures")), [*records, *rejected])
    (tmp_path / "reference.parquet").write_bytes(to_parquet(made))
    (tmp_path / "blocked").write_text("")
    monkeypatch.setattr("monitoring.alerts._RETRY_AFTER_S", (0.0,))
    arguments = [
        "report",
        "--current=2026-11-20",
        f"--reference={tmp_path / 'reference.parquet'}",
        f"--store={tmp_path / 'captures'}",
        f"--reports={tmp_path / 'reports'}",
        "--alerts",
        f"file:{tmp_path / 'blocked' / 'alerts'}",
    ]
    assert main(arguments) == 1
    assert (tmp_path / "reports" / "2026-11-20" / "index.html").exists()


def test_the_whole_loop_works_on_s3(s3, mail):
    records, made = mail
    locations = ReportLocations(
        captures=open_store("s3://digits/captures"),
        reports=open_store("s3://digits/drift"),
        reports_url="https://reports.example",
        sinks=("log:",),
    )
    fill(locations.captures, records)
    assessment, _ = run(locations, made)
    assert assessment.num_records == 600
    assert "2026-11-20/index.html" in locations.reports.find("2026-11-20/")


def blank(make_record, number, **changes):
    return make_record(
        number,
        digit=None,
        confidence=0.0,
        probs=(),
        image=None,
        crop=np.full((40, 32), 250, np.uint8),
        garbage=None,
        accepted=False,
        rejected_because="blank",
        **changes,
    )


def test_a_day_of_only_blank_crops_has_a_report_that_says_so(locations, mail, make_record):
    _, made = mail
    fill(locations.captures, [blank(make_record, n) for n in range(600)])
    assessment, _ = run(locations, made)
    assert assessment.severity == Severity.ACT
    text = page(locations, "2026-11-20/index.html")
    assert "100.0% of crops are blank (600 of 600)" in text
    assert "All 600 crops are blank, so nothing else about them is judged." in text
    assert "No Evidently report" not in page(locations, "2026-11-20/evidently.html")
    (event,) = alerts_in(locations)
    assert event["sites"] == ["leeds"]


def test_a_site_of_only_blank_crops_is_named_beside_a_fine_one(locations, mail, make_record):
    records, made = mail
    dark = [blank(make_record, n, site="dark") for n in range(600, 660)]
    fill(locations.captures, [*records, *dark])
    run(locations, made)
    (event,) = alerts_in(locations)
    assert event["sites"] == ["dark"]
    assert "site dark: 60 of 60 crops are blank" in event["details"]


def test_evidently_s_failure_does_not_cost_the_report(locations, mail, monkeypatch):
    records, made = mail
    fill(locations.captures, records)

    def fail(*_: object) -> None:
        raise ZeroDivisionError("an odd column")

    monkeypatch.setattr(report.drift, "render", fail)
    assessment, _ = run(locations, made)
    assert assessment.enough
    assert "Nothing stands out." in page(locations, "2026-11-20/index.html")
    assert "ZeroDivisionError: an odd column" in page(locations, "2026-11-20/evidently.html")
    assert report.has_report(locations.reports, DAY)


def test_the_page_compares_a_challenger_with_the_champion(locations, mail):
    records, reference = mail
    shadowed = [
        replace(
            record,
            challenger_version="9",
            challenger_digit=record.digit,
            challenger_confidence=0.5,
            challenger_accepted=False,
        )
        for record in records
    ]
    fill(locations.captures, shadowed)
    _, summary = report.make(locations, WINDOW, reference)
    (one,) = summary["challengers"]
    assert (one["challenger"], one["num_both"], one["num_other_digit"]) == ("9", 600, 0)
    assert one["challenger_reject_share"] == 1.0
    page = locations.reports.get(f"{WINDOW}/index.html").decode()
    assert "Challenger in shadow" in page
