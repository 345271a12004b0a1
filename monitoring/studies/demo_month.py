"""Fills a folder with a month of mail: captures, labels, drift reports, models, site states.

Everything is made from seeds; only the ids and times follow the clock. Writes nothing outside the
folder.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from capture import site_sync
from capture.kept_crops import keep_labelled
from capture.labels import add_events
from capture.store import open_store
from monitoring.studies import demo_champions, demo_labels, demo_mail, demo_reads
from monitoring.studies.demo_places import CHAMPION, FORMER, GLYPHS
from monitoring.studies.demo_reads import MonthPlan

SHIPPED_FIELD: Final = "28195"  # of the page's own example: so the demo accepts it
_FORMER_SHARE: Final = 0.35  # of the days, read by the champion before
_LABEL_SEED: Final = 3


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
    demo_champions.make_champions(folder, now=now, switched=switched)
    codes = [code for some in demo_mail.valid_codes().values() for code in some]
    codes.append(SHIPPED_FIELD)
    (folder / "postcodes.txt").write_text("\n".join(codes) + "\n")
    plan = MonthPlan(
        glyphs=GLYPHS,
        champion=folder / CHAMPION,
        former=folder / FORMER,
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
    making = [sys.executable, "-m", "monitoring.studies.demo_candidate", str(folder)]
    with subprocess.Popen(  # beside the reports: MLflow needs a while for its database
        making, env=environment, cwd=folder, stderr=subprocess.DEVNULL
    ) as candidate:
        try:
            # Imported here, because it loads Evidently: the readers import this module, too.
            from monitoring.studies import demo_reports

            demo_reports.report_last_days(
                captures,
                open_store(str(folder / "reports")),
                sink=environment["DIGITS_ALERTS"],
                reports_url=environment["DIGITS_REPORTS_URL"],
                today=now.date(),
                first_clean=(switched + timedelta(days=1)).date(),
                num_days=num_days,
                say=say,
            )
        except BaseException:
            candidate.kill()
            raise
        if candidate.wait():
            raise RuntimeError(f"{' '.join(making[1:])} failed with code {candidate.returncode}")
