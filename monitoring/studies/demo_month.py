"""Fills a folder with a month of mail: captures, labels, drift reports, models, site states.

Everything is made from seeds; only the ids and times follow the clock. Writes nothing outside the
folder.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final

import model
from capture import reference, site_sync
from capture.archive import Window
from capture.kept_crops import keep_labelled
from capture.labels import add_events
from capture.store import Store, open_store
from monitoring import mail_reference, report
from monitoring.studies import demo_labels, demo_mail, demo_models, demo_reads
from monitoring.studies.demo_reads import MonthPlan

ROOT: Final = Path(model.__file__).parents[1]
GLYPHS: Final = ROOT / "tests" / "data" / "crops"
_FORMER_SHARE: Final = 0.35  # of the days, read by the champion before
_ADOPTED_DAYS: Final = 7  # of clean mail, from the promotion on
_REPORTED_DAYS: Final = 8  # before today
_LABEL_SEED: Final = 3


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are in the demo's folder."""

    folder: Path  # absolute

    def environment(self, *, service_port: int, reports_port: int) -> dict[str, str]:
        """The variables that lead every program to this folder, and to no other."""
        inside = {
            "DIGITS_CAPTURE_DIR": "spool",
            "DIGITS_CAPTURE_STORE": "captures",
            "DIGITS_REPORTS": "reports",
            "DIGITS_DATA_STORE": "data",
            "DIGITS_DATA_CACHE": "mnist",
            "DIGITS_MODEL_STORE": str(demo_models.STORE),
            "DIGITS_CHAMPION": str(demo_models.CHAMPION),
            "DIGITS_TRAINING_WORK": str(demo_models.WORK),
            "DIGITS_POSTCODES": "postcodes.txt",
        }
        return {name: str(self.folder / path) for name, path in inside.items()} | {
            "DIGITS_HOST": "127.0.0.1",
            "DIGITS_PORT": str(service_port),
            "DIGITS_DRAIN_S": "0",
            "DIGITS_AUDIT_FRAC": str(demo_reads.AUDIT_FRAC),
            "DIGITS_SERVICE_URL": f"http://127.0.0.1:{service_port}",
            "DIGITS_REPORTS_URL": f"http://127.0.0.1:{reports_port}",
            "DIGITS_ALERTS": f"file:{self.folder / 'alerts.jsonl'}",
            "DIGITS_CONSOLE_DATABASE": f"sqlite:///{self.folder / 'console.db'}",
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.folder / 'mlflow.db'}",
            "PYTHONPATH": str(ROOT),
        }


def fill(
    environment: dict[str, str],
    folder: Path,
    *,
    now: datetime,
    num_days: int,
    letters_a_day: int,
    say: Callable[[str], None],
) -> None:
    """Make everything in an empty folder.

    Args:
        environment: of the program that makes the candidate.
        folder: absolute, and there.
        now: the end of the mail.
        num_days: before today.
        letters_a_day: of each site.
        say: told what is made.
    """
    former_days = round(num_days * _FORMER_SHARE)
    switched = now - timedelta(days=num_days - former_days)
    demo_models.make_champions(folder, now=now, switched=switched)
    codes = [code for some in demo_mail.valid_codes().values() for code in some]
    (folder / "postcodes.txt").write_text("\n".join(codes) + "\n")
    plan = MonthPlan(
        glyphs=GLYPHS,
        champion=folder / demo_models.CHAMPION,
        former=folder / demo_models.FORMER,
        spool=folder / "spool",
        captures=str(folder / "captures"),
        now=now,
        num_days=num_days,
        former_days=former_days,
        letters_a_day=letters_a_day,
    )
    answered = demo_reads.read_month(plan)
    say(f"{len(answered):,} crops of {len(demo_mail.SITES)} sites are read")
    captures = open_store(plan.captures)
    site_sync.sync(plan.spool, captures)
    events = demo_labels.key_month(answered, held_site=demo_mail.DIRTY_SITE, seed=_LABEL_SEED)
    add_events(captures, events)
    keep_labelled(captures)
    say(f"{len(events):,} labels of {len(demo_labels.ERROR_FRAC)} keyers are stored")
    making = [sys.executable, "-m", "monitoring.studies.demo_models", str(folder), str(GLYPHS)]
    with subprocess.Popen(  # beside the reports: MLflow needs a while for its database
        making, env=environment, cwd=folder, stderr=subprocess.DEVNULL
    ) as candidate:
        locations = report.ReportLocations(
            captures, open_store(str(folder / "reports")), environment["DIGITS_REPORTS_URL"],
            sinks=(environment["DIGITS_ALERTS"],),
        )  # fmt: skip
        try:
            _report(locations, now.date(), switched.date(), num_days=num_days, say=say)
        except BaseException:
            candidate.kill()
            raise
        if candidate.wait():
            raise RuntimeError(f"{' '.join(making[1:])} failed with code {candidate.returncode}")


def _report(
    locations: report.ReportLocations,
    today: date,
    switched: date,
    *,
    num_days: int,
    say: Callable[[str], None],
) -> None:
    """Adopt a clean week as the reference, then report on the last days."""
    first = switched + timedelta(days=1)
    _adopt(
        locations.captures, locations.reports, Window(first, first + timedelta(_ADOPTED_DAYS - 1))
    )
    for back in range(min(_REPORTED_DAYS, num_days), 0, -1):
        day = today - timedelta(days=back)
        in_force = mail_reference.load(mail_reference.CHAMPION, locations.reports)
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
