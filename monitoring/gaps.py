"""Rows with values missing -> rows that can be judged, and what about them cannot be. Pure.

A value is missing where it is null, NaN or infinite. Blank crops have no features by their nature,
so only crops with ink can lack one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from capture.features import CROP_FEATURES
from capture.reference import CATEGORICAL, NUMERIC
from monitoring.distances import MIN_VALUES

NO_SITE: Final = "(no site)"
ALWAYS_WRITTEN: Final = ("accepted", "threshold", "total_ms")  # by capture, for every crop
_NUMBERS: Final = (*NUMERIC, "threshold", "total_ms")


def fill_gaps(rows: pd.DataFrame) -> pd.DataFrame:
    """Give every number and site its one form: infinities become NaN, a missing site a name.

    Columns that are absent stay absent; the index is made anew.
    """
    tidy = rows.reset_index(drop=True)
    for name in (name for name in _NUMBERS if name in tidy):
        values = pd.to_numeric(tidy[name], errors="coerce")
        tidy[name] = values.where(np.isfinite(values.to_numpy(float, na_value=np.nan)))
    if "site" in tidy:
        tidy["site"] = tidy["site"].map(lambda site: NO_SITE if pd.isna(site) else str(site))
    return tidy


def is_blank(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Which crops had no ink."""
    blank: NDArray[np.bool_] = (rows["rejected_because"] == "blank").to_numpy(bool, na_value=False)
    return blank


def is_rejected(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Which crops were rejected, of those whose verdict is known."""
    rejected: NDArray[np.bool_] = ~rows["accepted"].dropna().to_numpy(bool)
    return rejected


@dataclass(frozen=True, slots=True)
class Gap:
    """A column that crops with ink lack."""

    column: str
    num_missing: int
    num_inked: int
    excess: float  # share that lacks it, above the reference's share


def find_gaps(current: pd.DataFrame, reference: pd.DataFrame) -> Iterator[Gap]:
    """Compare each column's missing values with the reference's.

    A feature of the crop as sent that is missing in every row is left out: originals are not
    captured there, which is a setting.
    """
    inked = current[~is_blank(current)]
    if not len(inked):
        return
    for name in (*NUMERIC, *CATEGORICAL, *ALWAYS_WRITTEN):
        num_missing = int(inked[name].isna().sum())
        expected = float(reference[name].isna().mean()) if name in reference else 0.0
        if num_missing < len(inked) or name not in CROP_FEATURES:
            yield Gap(name, num_missing, len(inked), num_missing / len(inked) - expected)


def not_judged(current: pd.DataFrame) -> Iterator[str]:
    """What a window cannot tell, one plain sentence for each gap.

    Args:
        current: as `fill_gaps` returns it.
    """
    num_rows, num_blank = len(current), int(is_blank(current).sum())
    if num_blank == num_rows:
        yield f"all {num_rows:,} crops are blank, so nothing else about them is judged"
    for name in (*NUMERIC, *CATEGORICAL, *ALWAYS_WRITTEN):
        num_values = int(current[name].notna().sum())
        if not num_values and (num_blank < num_rows or name in ALWAYS_WRITTEN):
            yield f"column {name} has no value in {num_rows:,} rows, so it is not judged"
        elif 0 < num_values < MIN_VALUES:
            few = f"only {num_values} of {num_rows:,} rows"
            yield f"column {name} has a value in {few}, so it is not judged"
    num_siteless = int((current["site"] == NO_SITE).sum())
    if num_siteless:
        yield f"column site has no value in {num_siteless:,} rows; they count as one site"
