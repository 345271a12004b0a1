"""A clean week of mail as the reference of drift, instead of the champion's validation data.

It holds for the model that read it: after a promotion the champion's own data counts again, until
another week is adopted. What is right or wrong is always judged by validation data, because mail
has no truth.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

import pandas as pd

from capture import reference
from capture.archive import PARQUET, Window
from capture.labels import LABEL_SCHEMA
from capture.reference import CATEGORICAL, NUMERIC, Reference
from capture.sampling import read_sample
from capture.store import MissingKey, Store
from monitoring import drift

log = logging.getLogger(__name__)

KEY: Final = "reference/adopted.parquet"  # among the reports
CHAMPION: Final = "champion"
MIN_ROWS: Final = 2_000  # below it the reference's own noise exceeds the limits of distances
_MAX_ROWS: Final = 20_000
_MIN_ROWS_PER_SITE: Final = 1_000
_COLUMNS: Final = [
    *NUMERIC,
    *CATEGORICAL,
    "label",
    "site",
    "accepted",
    "rejected_because",
    "threshold",
    "total_ms",
]
_IS_FAIR: Final = "is_fair"  # of all sites together, without the further rows of small sites


def load(name: str, reports: Store, champion: str | None = None) -> Reference:
    """The reference in force: the adopted week for `champion`, if the champion read it; or a file.

    Raises:
        ReferenceMissing, ValueError: as `reference.load`.
    """
    found = reference.load(name, champion)
    if name != CHAMPION:
        return found
    try:
        adopted = _with_sites(reference.from_parquet(reports.get(KEY), KEY))
    except MissingKey:
        return found
    if adopted.model_version != found.model_version:
        log.warning(
            "the adopted week %s was read by model %s and the champion is %s: validation data "
            "counts until you adopt another week",
            adopted.days, adopted.model_version, found.model_version,
        )  # fmt: skip
        return found
    return replace(adopted, judged=found.truth)


def read_week(captures: Store, window: Window, champion: Reference) -> pd.DataFrame:
    """Read a window of mail that the champion read, as `drift.prepare` gives rows.

    Raises:
        ValueError: it has too few crops of the champion.
        StoreError, OSError: the archive cannot be read.
    """
    sample = read_sample(
        captures,
        window,
        columns=drift.CAPTURE_COLUMNS,
        max_rows=_MAX_ROWS,
        min_rows_per_site=_MIN_ROWS_PER_SITE,
    )
    rows = drift.prepare(sample.rows, LABEL_SCHEMA.empty_table().to_pandas())
    rows = rows[rows["model_version"] == champion.model_version]
    rows = rows.assign(**{_IS_FAIR: rows["sample_key"] < sample.sample_below})
    if rows[_IS_FAIR].sum() < MIN_ROWS:
        raise ValueError(
            f"{window} has {rows[_IS_FAIR].sum():,} crops that model {champion.model_version} "
            f"read; a reference needs {MIN_ROWS:,}"
        )
    return rows.reset_index(drop=True)


def make(rows: pd.DataFrame, window: Window, champion: Reference) -> Reference:
    """Describe a week as a reference. The champion's validation data stays the truth."""
    return _with_sites(
        replace(
            champion,
            rows=rows[[*_COLUMNS, _IS_FAIR]],
            days=str(window),
            judged=champion.truth,
        )
    )


def adopt(reports: Store, made: Reference) -> None:
    """Make a week the reference of every report from now on."""
    assert made.of_sites is not None
    data = reference.to_parquet(replace(made, rows=made.of_sites))
    reports.put(KEY, data, content_type=PARQUET)


def _with_sites(stored: Reference) -> Reference:
    """Split the stored rows: blank crops have no features, so they count for sites only."""
    rows: pd.DataFrame = stored.rows
    fair = rows[rows[_IS_FAIR] & rows["polarity"].notna()].reset_index(drop=True)
    return replace(stored, rows=fair, of_sites=rows)
