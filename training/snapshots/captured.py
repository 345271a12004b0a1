"""The labelled crops of the capture archive, as they stood at the end of a month.

Edge: reads the archive. Knows nothing about test shares and files.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from capture.archive import KEY
from capture.kept_crops import keep_labelled, read_kept
from capture.label_decision import disputed, settle, votes_of
from capture.label_event import DIGITS, NOT_A_DIGIT
from capture.labels import read_events
from capture.snapshot_files import CAPTURES, SCHEMA, check_month
from capture.store import Store
from training.snapshots.sources import TOGETHER

_COLUMNS: Final = [
    *(*KEY, "image_png", "crop_png", "site", "time"),
    *("accepted", "rejected_because", "audit_probability"),
]


@dataclass(frozen=True, slots=True)
class Captured:
    """The rows that may be trained on, and what became of the other labels."""

    rows: pa.Table  # columns of SCHEMA
    label_events: dict[str, Any]  # number, sha256 of their ids, latest moment
    left_out: dict[str, int]  # reason -> crops
    undecided: frozenset[tuple[str, int]]  # crops in dispute
    withdrawn: frozenset[tuple[str, int]]  # crops that people say show no digit


def month_end(as_of: str) -> datetime:
    """The first moment after a month, UTC. Raises ValueError: it is not written as 2026-11."""
    year, month = map(int, check_month(as_of).split("-"))
    return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)


def read_captured(archive: Store, as_of: str) -> Captured:
    """Read every crop whose label was settled by the end of the month.

    Labelled crops are first copied out of the records that expire. A label event or a read of a
    later month takes no part, so the same month gives the same rows for ever.

    Raises:
        StoreError, OSError: the archive cannot be read.
    """
    end = month_end(as_of)
    keep_labelled(archive)
    events = read_events(archive)
    events = events[events["when"] < end]
    if events.empty:
        nobody: frozenset[tuple[str, int]] = frozenset()
        return Captured(SCHEMA.empty_table(), _events(events), {}, nobody, nobody)
    labels = settle(events)
    is_digit = labels["label"].isin(DIGITS)
    undecided = _keys(disputed(events))
    crops = read_kept(archive, _COLUMNS)
    crops = crops.filter(pc.less(crops["time"], pa.scalar(end, crops["time"].type)))
    found = crops.to_pandas().sort_values([*KEY, "time"]).drop_duplicates(KEY)
    named = labels[is_digit].merge(_voters(events), on=[*KEY, "label"])
    joined = named.merge(found, on=KEY)
    has_ink = joined["image_png"].notna()
    # What a faulty scanner sends teaches nothing about digits.
    is_held = has_ink & (joined["rejected_because"] == "site_on_hold")
    usable = joined[has_ink & ~is_held]
    left_out = {
        "in dispute": len(undecided),
        "not a digit": int((labels["label"] == NOT_A_DIGIT).sum()),
        "unreadable": int((~is_digit).sum() - (labels["label"] == NOT_A_DIGIT).sum()),
        "no captured crop": int(is_digit.sum()) - len(joined),
        "blank": int((~has_ink).sum()),
        "site on hold": int(is_held.sum()),
    }
    return Captured(_rows(usable), _events(events), left_out, undecided, _keys(labels[~is_digit]))


def _keys(frame: pd.DataFrame) -> frozenset[tuple[str, int]]:
    return frozenset(frame[KEY].itertuples(index=False, name=None))


def _voters(events: pd.DataFrame) -> pd.DataFrame:
    """Who gave each crop each label, and how."""
    votes = votes_of(events)
    by_label = votes.groupby([*KEY, "label"], as_index=False)
    return by_label.agg(
        who=("who", lambda names: TOGETHER.join(sorted(set(names)))),
        is_keyed=("how", lambda hows: "keyed" in set(hows)),
    )


def _events(events: pd.DataFrame) -> dict[str, Any]:
    ids = "\n".join(sorted(events["event_id"]))
    latest = events["when"].max().isoformat() if len(events) else None
    return {
        "number": len(events),
        "sha256": hashlib.sha256(ids.encode()).hexdigest(),
        "latest": latest,
    }


def _rows(found: pd.DataFrame) -> pa.Table:
    """An audited accepted read stands for 1 / its probability of others, every other for itself."""
    is_audit = found["is_audit"].astype(bool)
    is_sample = is_audit & found["accepted"].astype(bool) & (found["audit_probability"] > 0)
    how = is_audit.map({True: "audit", False: "import"})
    frame = found.assign(
        label=found["label"].astype(int),
        source=CAPTURES,
        how=how.mask(~is_audit & found["is_keyed"].astype(bool), "keyed"),
        weight=(1 / found["audit_probability"].where(is_sample, 1.0)).astype(float),
        received_at=found["time"],
    )
    return pa.Table.from_pandas(frame[SCHEMA.names], SCHEMA, preserve_index=False)
