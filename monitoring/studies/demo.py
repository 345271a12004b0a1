"""Simulate three weeks of mail and report on them, to make example pages.

Ten sites; one gets a dirty lens for three days, later five get a new scanner. Writes
FOLDER/captures, FOLDER/reference.parquet and FOLDER/reports.
"""

from __future__ import annotations

import argparse
import logging
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np

from capture import reference, ship
from capture.archive import Window
from capture.label_event import LabelEvent
from capture.labels import add_events
from capture.spool import Spool
from capture.store import open_store
from monitoring import alerts, report
from monitoring.studies import simulated_mail

SITES: Final = (
    "Aachen",
    "Bergen",
    "Coimbra",
    "Dijon",
    "Espoo",
    "Fano",
    "Galway",
    "Hull",
    "Izola",
    "Jena",
)
PER_SITE: Final = 250
DAYS: Final = 21
NUM_LABELLED: Final = 20  # crops of a site and day, drawn at random
MISSED: Final = frozenset({6})  # days without a report
QUIET: Final = frozenset({3, 10})  # Sundays: 30 records a site, which is too little to judge
DIRTY_LENS_DAYS: Final = (12, 13, 14)
NEW_SCANNER_DAY: Final = 18


def main() -> None:
    """Make the reference, then each day's mail and report."""
    parser = argparse.ArgumentParser(prog="python -m monitoring.studies.demo", description=__doc__)
    parser.add_argument("folder", type=Path, help="where captures and reports are written")
    folder: Path = parser.parse_args().folder
    logging.basicConfig(level=logging.INFO)
    reader = simulated_mail.Reader()
    made = reference.build(reader.predict(*simulated_mail.reference_mail()))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "reference.parquet").write_bytes(reference.to_parquet(made))
    locations = report.ReportLocations(
        captures=open_store(str(folder / "captures")),
        reports=open_store(str(folder / "reports")),
        reports_url="reports",
        sinks=("log:", f"file:{folder / 'alerts.jsonl'}"),
    )
    mail = simulated_mail.ordinary_mail(10_000, seed=2)
    today = datetime.now(UTC).date()
    for back in range(DAYS, 0, -1):
        day, number = today - timedelta(back), DAYS - back
        write_day(locations, reader, mail, day, number, folder)
        if number not in MISSED:
            emitted: list[str] = []
            seen = report.run(
                locations, Window(day, day), made, emit=emitted.append, today=day + timedelta(1)
            )
            alerts.flush(locations.reports)
            print(day, seen.severity.name, seen.num_records, len(seen.findings), emitted[0][-120:])


def write_day(
    locations: report.ReportLocations,
    reader: simulated_mail.Reader,
    mail: tuple[simulated_mail.Crops, simulated_mail.Labels],
    day: date,
    number: int,
    folder: Path,
) -> None:
    """Capture one day's mail of every site, with labels for a few crops."""
    crops, labels = mail
    rng = np.random.default_rng(number)
    spool = Spool(folder / "spool")
    truth = []
    for place_of_site, site in enumerate(SITES):
        seed = 1_000 * place_of_site + number
        num = 30 if number in QUIET else PER_SITE
        chosen = rng.permutation(len(crops))[:num]
        sent = [crops[n] for n in chosen]
        if site == "Fano" and number in DIRTY_LENS_DAYS:
            sent = simulated_mail.spoil(sent, "blur", 4, number)
        if site in SITES[:5] and number >= NEW_SCANNER_DAY:
            sent = simulated_mail.spoil(sent, "fade", 3, number)
        for place, record in enumerate(reader.read(sent, site=site, day=day, seed=seed)):
            if place < NUM_LABELLED:
                if record.accepted:
                    record.audit_probability = NUM_LABELLED / num
                how = "audit" if record.accepted else "keyed"
                digit = str(labels[chosen[place]])
                truth.append(LabelEvent(record.read_id, 0, digit, "demo", record.time_us, how))
            spool.append(record)
    spool.close()
    ship.ship_once(folder / "spool", locations.captures)
    add_events(locations.captures, truth)


if __name__ == "__main__":
    main()
