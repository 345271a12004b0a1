"""Commands `snapshot`, `validate` and `data`.

Edge: opens stores, reads the clock, prints.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from capture.snapshot_erasure import erase_from_snapshots, mark_champions, of_set
from capture.store import Store, open_store
from training import provenance
from training.data.mnist_files import DataError
from training.snapshots import added, building, checking
from training.snapshots.captured import month_end
from training.snapshots.validation import Limits
from training.snapshots.validation_page import write_page

EXIT_REFUSED = 1
_ALWAYS = datetime.max.replace(tzinfo=UTC)


def run(options: argparse.Namespace) -> int:
    """Run one of the commands; 1 when validation refuses the snapshot.

    Raises:
        DataError, ArtifactRefused, StoreError: it cannot be done; the message says why.
    """
    data = _open(options.data_store, "--data-store")
    if options.command == "data":
        _run_set(options, data)
        return 0
    try:
        month_end(options.as_of)
    except ValueError as error:
        raise DataError(f"--as-of: {error}") from error
    return _snapshot(options, data) if options.command == "snapshot" else _validate(options, data)


def _open(url: str, option: str) -> Store:
    try:
        return open_store(url)
    except ValueError as error:
        raise DataError(f"{option}: {error}") from error


def _snapshot(options: argparse.Namespace, data: Store) -> int:
    archive = _open(options.store, "--store")
    as_of = options.as_of
    if month_end(as_of) > datetime.now(UTC):
        print(f"{as_of} is not over: what is labelled from now on is in a later snapshot")
    try:
        made = building.build(archive, data, as_of, git_commit=provenance.git_commit())
    except (OSError, ValueError) as error:  # a StoreError is an OSError; Arrow's are either
        raise DataError(f"cannot read the archive {archive.url}: {error}") from error
    done = "stored" if made.is_new else "there already, with the same content"
    print(
        f"snapshot {made.version}: {done}; {made.num_train} crops to train on and "
        f"{made.num_test} in the test share, in {data.url}/snapshots/{as_of}"
    )
    return 0


def _validate(options: argparse.Namespace, data: Store) -> int:
    limits = Limits(stop_on_quarantine=options.stop_on_quarantine)
    checked = checking.check(data, options.as_of, options.champion, limits)
    report = checked.report
    options.page.parent.mkdir(parents=True, exist_ok=True)
    options.page.write_text(write_page(checked), encoding="utf-8")
    for finding in report.findings:
        print(f"{finding.severity}: {finding.check}: {finding.text}")
    print(f"{checked.snapshot.version}: {report.verdict}\npage: {options.page}")
    return EXIT_REFUSED if report.is_refused else 0


def _run_set(options: argparse.Namespace, data: Store) -> None:
    if options.action == "add":
        now = datetime.now(UTC)
        one = added.add(data, options.path, name=options.name, site=options.site, now=now)
        print(
            f"{one.num} crops added as {one.name}, site {one.site}; they join the snapshots of "
            f"{now:%Y-%m} and later"
        )
    elif options.action == "remove":
        _remove(options, data)
    else:
        for one in added.read_added(data, _ALWAYS):
            when = f"{one.added_at:%Y-%m-%d}"
            print(f"{one.name}: {one.num} crops, site {one.site}, added on {when}")


def _remove(options: argparse.Namespace, data: Store) -> None:
    """Erase an added set, from the snapshots too, and tell which champions were trained on it."""
    models = _open(options.model_store, "--model-store")
    num = added.remove(data, options.name)
    rewritten = erase_from_snapshots(data, of_set(options.name))
    champions = mark_champions(models, options.champion, rewritten, when=provenance.now())
    if not num and not rewritten:
        names = ", ".join(one.name for one in added.read_added(data, _ALWAYS)) or "none"
        raise DataError(f"no set is called {options.name!r}; there are: {names}")
    print(f"{num} files of {options.name} removed", *rewritten, sep="\n")
    for version in champions:
        print(f"champion {version} was trained on it and is marked: retrain due")
