"""Four days of five sites' mail; the lens of one, Fano, is dirty on the last two days."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import pytest
from made_records import make

from capture import ship
from capture.archive import Window
from capture.label_event import LabelEvent
from capture.labels import LABEL_SCHEMA, add_events
from capture.reference import Reference
from capture.sampling import read_sample
from capture.spool import Spool
from capture.store import Store, open_store
from monitoring import drift, report
from monitoring.report_store import ReportLocations

SITES = ("Aachen", "Bergen", "Coimbra", "Dijon", "Fano")
DIRTY = "Fano"
NUM_DAYS = 4
PER_SITE = 205
TODAY = date(2026, 11, 27)
DAYS = [TODAY - timedelta(back) for back in range(NUM_DAYS, 0, -1)]
DIRTY_DAYS = DAYS[-2:]
NUM_AUDITED = 40


@dataclass(frozen=True)
class Mail:
    """Where the mail was stored, and whose reads are there."""

    archive: Store
    reports: Store
    read_ids: dict[tuple[str, date], list[str]]


def made(site, day, number):
    """One record; the dirty lens makes the paper grey and a quarter of the digits unsure."""
    rng = np.random.default_rng([number, SITES.index(site), day.toordinal()])
    moment = datetime.combine(day, time(), UTC) + timedelta(seconds=410 * number + 5)
    time_us = int(moment.timestamp() * 1e6)
    read_id = f"{time_us // 1000:012x}7000{0x8000 + SITES.index(site):04x}{number:012x}"
    read_id = "-".join((read_id[:8], read_id[8:12], read_id[12:16], read_id[16:20], read_id[20:]))
    is_dirty = site == DIRTY and day in DIRTY_DAYS
    crop = rng.integers(200, 256, (40, 32), dtype=np.uint8)
    if is_dirty:
        crop = rng.integers(110, 220, (40, 32), dtype=np.uint8)
    crop[8:32, 12:18] = 20
    accepted = bool(rng.random() > (0.25 if is_dirty else 0.04))
    return make(
        number,
        request_id=read_id,
        read_id=read_id,
        site=site,
        time_us=time_us,
        crop=crop,
        accepted=accepted,
        rejected_because=None if accepted else "low_confidence",
        confidence=0.98 if accepted else 0.5,
        audit_probability=0.2 if accepted and number < NUM_AUDITED else 0.0,
    )


@pytest.fixture(scope="session")
def stored_mail(tmp_path_factory):
    """The mail in an archive, with labels and a report for each day."""
    folder: Path = tmp_path_factory.mktemp("mail")
    archive, reports = open_store(str(folder / "captures")), open_store(str(folder / "reports"))
    read_ids = {}
    for day in DAYS:
        spool, labels = Spool(folder / "spool"), []
        for site in SITES:
            records = [made(site, day, number) for number in range(PER_SITE)]
            read_ids[(site, day)] = [one.read_id for one in records]
            for one in records:
                spool.append(one)
            audited = [one for one in records if one.audit_probability]
            wrong = 6 if site == DIRTY and day in DIRTY_DAYS else 0
            labels += [
                LabelEvent(
                    one.read_id, 0, str((one.digit + (place < wrong)) % 10), "kim",
                    one.time_us, "audit",
                )
                for place, one in enumerate(audited)
            ]  # fmt: skip
        spool.close()
        ship.ship_once(folder / "spool", archive)
        add_events(archive, labels)
    _report(archive, reports)
    return folder, read_ids


def _report(archive, reports):
    """Reports as `monitoring report` writes them, without Evidently's pages, which take seconds."""
    sample = read_sample(
        archive, Window(DAYS[0], DAYS[0]), columns=drift.CAPTURE_COLUMNS, max_rows=5_000,
        min_rows_per_site=0,
    )  # fmt: skip
    rows = drift.prepare(sample.rows, LABEL_SCHEMA.empty_table().to_pandas())
    rows["label"] = rows["digit"]
    reference = Reference(rows, model_version="3", threshold=0.9, garbage_threshold=10.0)
    locations = ReportLocations(archive, reports, "reports", ())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "_put_evidently", _put_stub)
        for day in DAYS:
            _, summary = report.make(locations, Window(day, day), reference)
            reports.put(
                f"{day}/report.json", json.dumps(summary).encode(), content_type=report.JSON
            )
    report.rebuild_calendar(reports, today=TODAY)


def _put_stub(reports, folder, *_):
    reports.put(f"{folder}/evidently.html", b"<p>figures</p>", content_type=report.HTML)


@pytest.fixture
def mail(console, stored_mail, tmp_path):
    """The same mail in the console's own stores, free to be changed."""
    folder, read_ids = stored_mail
    for name in ("captures", "reports"):
        shutil.copytree(folder / name, tmp_path / name)
    return Mail(console.archive, console.reports, read_ids)
