"""What a challenger read in shadow, beside what the champion answered. Pure.

Only crops that both read are compared. The challenger reads fewer under load, so its share is no
share of the mail at busy hours.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

CHALLENGER_COLUMNS = (
    "challenger_version",
    "challenger_digit",
    "challenger_confidence",
    "challenger_accepted",
)


@dataclass(frozen=True, slots=True)
class ShadowComparison:
    """One pair of versions, over the crops that both read."""

    champion: str
    challenger: str
    num_both: int
    num_other_digit: int
    champion_reject_share: float
    challenger_reject_share: float
    num_labelled: int  # crops that they read differently, and whose digit people have keyed
    num_champion_right: int  # of these
    num_challenger_right: int


def compare(rows: pd.DataFrame) -> list[ShadowComparison]:
    """Compare each pair of versions; none where no challenger read.

    Args:
        rows: captured rows with labels, as `drift.prepare` gives them.
    """
    both = rows[rows["challenger_version"].notna() & rows["challenger_digit"].notna()]
    return [
        _of(str(champion), str(challenger), pair)
        for (champion, challenger), pair in both.groupby(["model_version", "challenger_version"])
    ]


def _of(champion: str, challenger: str, pair: pd.DataFrame) -> ShadowComparison:
    theirs = pair["challenger_digit"].astype(int).astype(str)
    differs = pair["digit"] != theirs
    labelled = pair[differs & pair["label"].notna()]
    return ShadowComparison(
        champion=champion,
        challenger=challenger,
        num_both=len(pair),
        num_other_digit=int(differs.sum()),
        champion_reject_share=1 - float(pair["accepted"].astype(float).mean()),
        challenger_reject_share=1 - float(pair["challenger_accepted"].astype(float).mean()),
        num_labelled=len(labelled),
        num_champion_right=int((labelled["digit"] == labelled["label"]).sum()),
        num_challenger_right=int((theirs[labelled.index] == labelled["label"]).sum()),
    )
