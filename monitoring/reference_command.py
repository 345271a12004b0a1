"""``python -m monitoring reference``: of saved predictions, or a clean week of mail.

Heavy imports happen inside the command.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from capture import commands
from capture.config import CaptureSettings

_NPZ = ".npz"


def register(add: commands.AddCommand, settings: CaptureSettings, *, reports_url: str) -> None:
    """Add the command that makes a drift reference."""
    made = add(
        "reference",
        _reference,
        "show a week of mail, and adopt it as the reference of drift; or make one of predictions",
    )
    made.add_argument(
        "--from",
        dest="source",
        required=True,
        metavar="DAYS",
        help="2026-11-16..2026-11-22; or predictions that training saved, as FILE.npz",
    )
    made.add_argument("--adopt", action="store_true", help="make the week the reference")
    made.add_argument("--out", type=Path, help="of predictions: the Parquet file to write")
    made.add_argument("--store", default=settings.store, help=commands.STORE_HELP)
    made.add_argument("--reports", default=settings.reports, help=commands.REPORTS_HELP)
    made.set_defaults(reports_url=reports_url, champion=settings.champion)


def _reference(options: argparse.Namespace) -> int:
    try:
        return _of_predictions(options) if options.source.endswith(_NPZ) else _of_mail(options)
    except (ValueError, OSError) as error:
        print(f"no reference is made: {error}", file=sys.stderr)
        return 1


def _of_predictions(options: argparse.Namespace) -> int:
    from capture import reference
    from capture.predictions import read_predictions

    if options.out is None:
        raise ValueError("give --out FILE, where it is written to")
    made = reference.build(read_predictions(Path(options.source)))
    options.out.write_bytes(reference.to_parquet(made))
    print(f"{len(made.rows)} rows of model {made.model_version} to {options.out}")
    return 0


def _of_mail(options: argparse.Namespace) -> int:
    """Show how a week differs from the reference in force; adopt it if that is asked for."""
    from capture import reference
    from capture.archive import parse_window
    from capture.store import open_store
    from monitoring import mail_reference, reference_page, rules
    from monitoring.findings import Severity

    reports = open_store(options.reports)
    window = parse_window(options.source, today=commands.today())
    served = options.champion
    champion = reference.load(mail_reference.CHAMPION, served)
    captures = open_store(options.store)
    week = mail_reference.read_week(captures, window, champion)
    made = mail_reference.make(week, window, champion)
    in_force = mail_reference.load(mail_reference.CHAMPION, reports, served)
    assert made.of_sites is not None
    shown = rules.assess(made.of_sites[made.of_sites["is_fair"]], in_force, by_site=made.of_sites)
    against = f"mail of {in_force.days}" if in_force.days else "validation data"
    print(f"{window}, model {made.model_version}, beside {against}: {shown.severity.name.lower()}")
    print(f"{shown.num_records:,} crops, {shown.reject_share:.1%} rejected")
    for finding in shown.findings:
        print(f"  {finding.severity.name.lower()}: {finding.text}")
    for site in shown.sites:
        differs = " (differs)" if site.named else ""
        print(
            f"  site {site.site}: {site.reject_share:.1%} of {site.num_records:,} rejected{differs}"
        )
    page = reference_page.write(captures, reports, window, week, in_force, shown)
    print(f"pictures of each site: {options.reports_url}/{page}")
    if not options.adopt:
        print("not adopted; if this is how clean mail looks, repeat it with --adopt")
        return 0
    if shown.severity is Severity.ACT:
        raise ValueError("a week with a finding that says act is not clean; choose another")
    mail_reference.adopt(reports, made)
    print(f"adopted; reports compare with it from now on ({mail_reference.KEY})")
    return 0
