"""The commands of labels: `register` adds them to the parser of ``python -m monitoring``.

Heavy imports happen inside the command that needs them.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from datetime import UTC, datetime
from pathlib import Path

from capture.commands import SPOOL_HELP, STORE_HELP, AddCommand, window
from capture.config import CaptureSettings
from capture.label_event import HOW

_SHOWN = 20  # crops that `labels` lists


def register(add: AddCommand, settings: CaptureSettings) -> None:
    """Add the commands that store labels and show what became of them."""
    label = add("label", _label, "store the labels of a CSV file: read_id,crop_index,label")
    label.add_argument("csv", type=Path, help="the CSV file")
    label.add_argument("--who", default="", help="who labelled, where the file has no column who")
    label.add_argument(
        "--how", choices=HOW, default="import", help="how, where the file has no column how"
    )
    label.add_argument("--spool", type=Path, default=settings.spool, help=SPOOL_HELP)
    label.add_argument("--store", default=settings.store, help=STORE_HELP)

    labels = add("labels", _labels, "count the labels, and list disputes and unknown reads")
    labels.add_argument("--store", default=settings.store, help=STORE_HELP)

    marks = add("audits", _audits, "list the marked crops that nobody has audited, as a label file")
    marks.add_argument(
        "--day",
        type=window,
        default="yesterday",
        help="yesterday, 2026-11-01 or 2026-11-01..2026-11-07",
    )
    marks.add_argument("--store", default=settings.store, help=STORE_HELP)


def _label(options: argparse.Namespace) -> int:
    from capture.label_csv import Defaults, LabelFileError, parse
    from capture.labelling import store_rows
    from capture.store import open_store

    defaults = Defaults(who=options.who, how=options.how, now=datetime.now(UTC))
    try:
        rows = parse(_read(options.csv), defaults)
        stored = store_rows(open_store(options.store), options.spool, rows)
    except (LabelFileError, OSError) as error:
        print(f"{options.csv}: nothing is stored:\n{error}", file=sys.stderr)
        return 1
    where = f" as {stored.key}" if stored.key else ""
    print(f"{stored.num_new} labels stored{where}; {stored.num_known} were known already")
    return 0


def _read(path: Path) -> bytes:
    """The content of a file, bounded in memory: a wrong path may be a film, or endless."""
    from capture.label_csv import MAX_FILE_BYTES, LabelFileError

    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise LabelFileError(
            [f"it has more than {MAX_FILE_BYTES // 1_000_000} MB, the most that is read; split it"]
        )
    return data


def _labels(options: argparse.Namespace) -> int:
    from capture.archive import KEY
    from capture.label_decision import disputed, settle
    from capture.labels import read_events
    from capture.look_up import find_in_archive
    from capture.store import open_store

    store = open_store(options.store)
    events = read_events(store)
    settled, disputes = settle(events), disputed(events)
    ids = sorted(set(events["read_id"]))
    unknown = sorted(set(ids) - {read.read_id for read in find_in_archive(store, ids)})
    num_disputed = len(disputes.drop_duplicates(KEY))
    print(f"{len(events)} events; {len(settled)} crops settled, {num_disputed} disputed")
    crops = list(disputes.groupby(KEY))
    for (read_id, index), votes in crops[:_SHOWN]:
        said = ", ".join(f"{one.who or 'nobody'}: {one.label}" for one in votes.itertuples())
        print(f"disputed: {read_id} crop {index} ({said}); ask a third person")
    for read_id in unknown[:_SHOWN]:
        print(f"no captured read: {read_id}; not shipped yet, expired, or never captured")
    more = max(len(crops) - _SHOWN, 0) + max(len(unknown) - _SHOWN, 0)
    if more:
        print(f"and {more} more")
    return 0


def _audits(options: argparse.Namespace) -> int:
    from capture.audit_list import list_marks
    from capture.store import open_store

    marks = list_marks(open_store(options.store), options.day)
    with contextlib.suppress(BrokenPipeError):  # `| head` has closed it
        print(marks.to_csv(index=False), end="", flush=True)
    return 0
