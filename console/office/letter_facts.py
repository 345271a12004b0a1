"""What is known around a letter: its labels and why one counts, and the drift state of its day."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import pandas as pd

from capture.archive import KEY
from capture.label_decision import settle, votes_of
from capture.label_event import LabelEvent
from capture.labels import read_events, to_table
from capture.store import MissingKey, Store

_STATES: Final = ("calm", "watch", "act")
_REPORT: Final = "report.json"


@dataclass(frozen=True, slots=True)
class CropLabels:
    """The label events of one crop, oldest first, and the label that counts."""

    events: Sequence[dict[str, Any]]
    settled: str | None
    why: str


def labels_of(store: Store, in_spool: Sequence[LabelEvent], read_id: str) -> dict[int, CropLabels]:
    """Crop index -> its labels, for the crops that have any."""
    stored = read_events(store)
    events = pd.concat([stored[stored["read_id"] == read_id], to_table(in_spool).to_pandas()])
    events = events.drop_duplicates("event_id").sort_values(["when", "event_id"])
    return {int(index): _labels(of_crop) for index, of_crop in events.groupby(KEY[1])}


def _labels(events: pd.DataFrame) -> CropLabels:
    votes, settled = votes_of(events), settle(events)
    label = None if settled.empty else str(settled["label"][0])
    return CropLabels(events.to_dict("records"), label, _why(votes, label))


def _why(votes: pd.DataFrame, label: str | None) -> str:
    """Why a label counts, or none does; `capture.label_decision` has the rule."""
    num = len(votes)
    if label is None:
        return f"{num} persons disagree and no label has more than half: one more person is needed"
    if num == 1:
        return "one person gave it"
    num_for = int((votes["label"] == label).sum())
    if num_for == num:
        return f"all {num} persons gave it"
    return f"{num_for} of {num} persons gave it"


@dataclass(frozen=True, slots=True)
class DriftState:
    """What the drift report of a day says of a site."""

    state: str  # calm, watch, act, insufficient
    texts: Sequence[str]
    window: str


def drift_state(reports: Store, day: date, site: str) -> DriftState | None:
    """The state of a site on a day; None where no report covers it.

    Raises:
        StoreError, ValueError: the report cannot be read.
    """
    window, body = _report(reports, day)
    if body is None:
        return None
    summary = json.loads(body)
    if not summary["enough"]:
        return DriftState("insufficient", ["Too few records to tell drift from chance."], window)
    of_site = [one for one in summary["findings"] if one["site"] == site]
    worst = max((int(one["severity"]) for one in of_site), default=0)
    return DriftState(_STATES[worst], [str(one["text"]) for one in of_site], window)


def _report(reports: Store, day: date) -> tuple[str, bytes | None]:
    """The day's own report, or one of several days that covers it."""
    try:
        return str(day), reports.get(f"{day}/{_REPORT}")
    except MissingKey:
        for key in reports.find(""):
            first, dots, last = key.removesuffix(f"/{_REPORT}").partition("..")
            if key.endswith(f"/{_REPORT}") and dots and first <= str(day) <= last:
                return f"{first}..{last}", reports.get(key)
    return "", None
