"""Whether what a finished month brought calls for a retraining. Pure.

A month's snapshot never changes, so a month is retrained once at most; labels that were too few go
into the next month's. After a downtime the last finished month stands for those before it, because
its snapshot has all their labels. Knows nothing about what a label is of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pandas as pd

from monitoring.config import Triggers
from monitoring.findings import Severity

SETTLES: Final = timedelta(hours=1)  # after a month's end, until its last labels have been shipped
TRIES: Final = 3  # of one month
RETRY: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class RetrainState:
    """What has been done."""

    done: str = ""  # the last month that was retrained, as 2026-11
    num_labelled: int = 0  # labelled items that it had
    trying: str = ""  # the month of the last attempt
    tries: int = 0  # of that month that failed
    tried_at: str = ""  # ISO time of the last failure


@dataclass(frozen=True, slots=True)
class Due:
    """What to do now."""

    as_of: str
    num_labelled: int
    starts: bool
    reason: str


def last_finished(now: datetime) -> str:
    """The last month that is over, UTC, as 2026-11."""
    return f"{end_of_finished(now) - timedelta(1):%Y-%m}"


def end_of_finished(now: datetime) -> datetime:
    """The moment at which that month ended, UTC."""
    moment = (now - SETTLES).astimezone(UTC)
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def num_crops_before(events: pd.DataFrame, end: datetime) -> int:
    """Crops that had a label before a moment; several labels of one count once.

    Args:
        events: every label event: read_id, crop_index, when.
        end: with a time zone.
    """
    keys = events[events["when"] < pd.Timestamp(end)][["read_id", "crop_index"]]
    return len(keys.drop_duplicates())


def is_due(
    state: RetrainState,
    triggers: Triggers,
    num_labelled: int,
    summaries: Sequence[Mapping[str, Any]],
    *,
    now: datetime,
    what: str = "labelled crops",
) -> Due:
    """Decide, with the reason in words.

    Args:
        state: what has been done.
        triggers: the settings.
        num_labelled: items whose label had come by `end_of_finished(now)`.
        summaries: every drift report.
        now: with a time zone.
        what: the items, in the reason's words.
    """
    as_of = last_finished(now)

    def due(*, starts: bool, reason: str) -> Due:
        return Due(as_of, num_labelled, starts, reason)

    if as_of <= state.done:
        return due(starts=False, reason=f"{as_of} is done")
    if state.trying == as_of and state.tries >= TRIES:
        return due(starts=False, reason=f"{as_of} failed {state.tries} times")
    if state.trying == as_of and now < datetime.fromisoformat(state.tried_at) + RETRY:
        return due(starts=False, reason=f"{as_of} failed at {state.tried_at}; it is tried again")
    num_new = num_labelled - state.num_labelled
    if num_new >= triggers.min_labels:
        return due(starts=True, reason=f"{num_new} {what} are new")
    drifted = _drifted(triggers.drift, summaries, since=state.done)
    if drifted is not None:
        return due(starts=True, reason=f"drift said {drifted}")
    few = f"{num_new} {what} are new, {triggers.min_labels} are needed"
    return due(starts=False, reason=f"{few}, and no drift report calls for it")


def _drifted(
    trigger: Severity | None, summaries: Sequence[Mapping[str, Any]], *, since: str
) -> str | None:
    """The newest report after the month `since` that is as severe as the trigger, in words."""
    if trigger is None:
        return None
    severe = [
        one
        for one in summaries
        if one["enough"] and one["severity"] >= trigger and one["last"][: len("2026-11")] > since
    ]
    if not severe:
        return None
    newest = max(severe, key=lambda one: str(one["last"]))
    return f"{Severity(newest['severity']).name.lower()} on {newest['window']}"
