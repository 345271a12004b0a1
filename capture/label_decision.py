"""Label events -> one label for each crop, or a dispute. Pure.

Of one person, the latest event of a crop counts. A label is settled where more than half of the
persons who labelled the crop gave it: one person alone, two who agree, two of three. Two who
disagree need a third. Two events of one person at the same moment that differ are a dispute, too.
"""

from __future__ import annotations

from typing import Final

import pandas as pd

from capture.archive import KEY
from capture.label_event import AUDIT

SETTLED: Final = [*KEY, "label", "is_audit"]


def votes_of(events: pd.DataFrame) -> pd.DataFrame:
    """The latest event of each person and crop; both where one person gave two at one moment."""
    by_person = [*KEY, "who"]
    latest = events.groupby(by_person)["when"].transform("max")
    votes = events[events["when"] == latest].drop_duplicates([*by_person, "label"], keep="last")
    return votes.reset_index(drop=True)


def settle(events: pd.DataFrame) -> pd.DataFrame:
    """The crops whose label is settled: columns SETTLED, in the order of the key.

    Args:
        events: columns of `capture.labels.EVENT_SCHEMA`.
    """
    counted = _count(votes_of(events))
    won = counted[counted["num_for"] * 2 > counted["num_votes"]]
    return won[SETTLED].sort_values(KEY, ignore_index=True)


def disputed(events: pd.DataFrame) -> pd.DataFrame:
    """The votes of the crops whose label is not settled, in the order of the key."""
    votes = votes_of(events)
    settled = settle(events)[KEY].assign(is_settled=True)
    joined = votes.merge(settled, on=KEY, how="left")
    return votes[joined["is_settled"].isna()].sort_values([*KEY, "who"], ignore_index=True)


def _count(votes: pd.DataFrame) -> pd.DataFrame:
    """Each label that a crop was given, with its votes and those of the crop."""
    flagged = votes.assign(is_audit=votes["how"] == AUDIT)
    of_label = flagged.groupby([*KEY, "label"], as_index=False).agg(
        num_for=("who", "size"), is_audit=("is_audit", "any")
    )
    of_label["num_votes"] = of_label.groupby(KEY)["num_for"].transform("sum")
    return of_label
