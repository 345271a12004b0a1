"""Captured rows and the champion's reference -> an Evidently report and the most unusual crops.

The only module that imports evidently. The import takes seconds and 270 MB, so it happens when a
report is made. Knows nothing about where reports are stored or who is notified.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from capture import features
from capture.label_event import UNREADABLE
from capture.reference import CATEGORICAL, DARK_INK, LIGHT_INK, NUMERIC, Reference
from monitoring import rules
from monitoring.gaps import fill_gaps

CAPTURE_COLUMNS: Final = (
    *NUMERIC,
    "digit",
    "inverted",
    "accepted",
    "rejected_because",
    "threshold",
    "total_ms",
    "model_version",
    "time",
)
ON_HOLD: Final = "site_on_hold"  # rejected_because
MAX_REPORT_ROWS: Final = 20_000  # more rows do not improve Evidently's charts
MAX_REPORT_SITES: Final = 20
_PER_FEATURE: Final = 4  # unusual crops, so that one feature does not fill the page


def prepare(captured: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """Give captured rows the columns that rules and reports compare, and labels where they exist.

    Reads of a site on hold leave: all of them are rejected, whatever the model said of them.
    Blank crops stay and count as rejected; they have no features, as in the reference.
    """
    is_held = (captured["rejected_because"] == ON_HOLD).to_numpy(bool, na_value=False)
    rows = captured[~is_held].merge(labels, on=["read_id", "crop_index"], how="left")
    rows["polarity"] = rows["inverted"].map({True: LIGHT_INK, False: DARK_INK}).astype(object)
    rows.loc[rows["digit"].isna(), "polarity"] = None
    none = [*features.CROP_FEATURES, "aspect", "num_dropped", "confidence"]
    rows.loc[rows["digit"].isna(), none] = np.nan
    rows["digit"] = rows["digit"].map(lambda digit: None if pd.isna(digit) else str(int(digit)))
    is_judged = rows["label"].notna() & (rows["label"] != UNREADABLE)
    rows["label"] = rows["label"].astype(object).where(is_judged, None)
    rows[list(NUMERIC)] = rows[list(NUMERIC)].astype(np.float32)
    return rows


@dataclass(frozen=True, slots=True)
class Rendered:
    """An Evidently report as files."""

    html: str
    json: str
    labelled_html: str | None  # accuracy of labelled reads; None when there are too few


def render(
    current: pd.DataFrame, reference: Reference, labelled: pd.DataFrame | None = None
) -> Rendered:
    """Run Evidently on a window with at least `rules.MIN_RECORDS` rows.

    A column that has no value on one of the sides is left out.
    `labelled` are all of the window's labelled rows; those of `current` when None.
    """
    labelled_rows = current if labelled is None else labelled
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from Evidently's imports and from empty histograms
        return _run(current.head(MAX_REPORT_ROWS), reference, labelled_rows)


def _run(current: pd.DataFrame, reference: Reference, labelled_rows: pd.DataFrame) -> Rendered:
    from evidently import DataDefinition, Dataset, Report

    threshold = rules.threshold_of(current, reference)
    reference_rows = fill_gaps(reference.rows).assign(
        rejected=reference.is_rejected(threshold).astype(float),
        total_ms=rules.P99_LIMIT_MS,  # validation has no latency: show the limit instead
        site="reference",
    )
    current_rows = fill_gaps(current)
    current_rows["rejected"] = (1 - current_rows["accepted"].astype(float)).astype(float)
    numeric, categorical = (
        [name for name in names if _has_values(current_rows, reference_rows, name)]
        for names in ((*NUMERIC, "rejected", "total_ms"), (*CATEGORICAL, "site"))
    )
    columns = [*numeric, *categorical]
    labelled = labelled_rows[labelled_rows["label"].notna() & labelled_rows["digit"].notna()]
    definition = DataDefinition(
        numerical_columns=numeric,
        categorical_columns=categorical,
    )
    datasets = [
        Dataset.from_pandas(rows[columns], definition) for rows in (current_rows, reference_rows)
    ]
    expected = float(reference_rows["rejected"].mean())
    metrics = _metrics(current_rows, columns, expected)
    snapshot = Report(metrics, include_tests=True).run(*datasets)
    return Rendered(
        html=snapshot.get_html_str(as_iframe=False),
        json=snapshot.json(),
        labelled_html=_quality(labelled, reference) if len(labelled) >= rules.MIN_LABELS else None,
    )


def _has_values(current: pd.DataFrame, reference: pd.DataFrame, name: str) -> bool:
    return bool(current[name].notna().any() and reference[name].notna().any())


def _metrics(current_rows: pd.DataFrame, columns: list[str], expected_rejects: float) -> list[Any]:
    from evidently.metrics import MeanValue, MissingValueCount, QuantileValue, RowCount, ValueDrift
    from evidently.metrics.group_by import GroupBy
    from evidently.tests import gte, lte

    most_missing = int(len(current_rows) * rules.MISSING_EXCESS)
    most_rejects = expected_rejects + rules.REJECT_WATCH_EXCESS
    features = [name for name in NUMERIC if name in columns]
    of_column = {
        "rejected": MeanValue(column="rejected", tests=[lte(most_rejects)]),
        "total_ms": QuantileValue(
            column="total_ms", quantile=0.99, tests=[lte(rules.P99_LIMIT_MS)]
        ),
        "digit": ValueDrift(column="digit", method="chisquare", threshold=rules.CLASS_MIX_P),
        "polarity": ValueDrift(
            column="polarity", method="jensenshannon", threshold=rules.POLARITY_LIMIT
        ),
    }
    metrics = [
        RowCount(tests=[gte(rules.MIN_RECORDS)]),
        *(metric for name, metric in of_column.items() if name in columns),
        *(
            ValueDrift(column=name, method="wasserstein", threshold=rules.DISTANCE_LIMIT)
            for name in features
        ),
        *(MissingValueCount(column=name, tests=[lte(most_missing)]) for name in features),
    ]
    if 1 < current_rows["site"].nunique() <= MAX_REPORT_SITES and "rejected" in columns:
        metrics.append(GroupBy(MeanValue(column="rejected", tests=[]), "site"))
    return metrics


def _quality(labelled: pd.DataFrame, reference: Reference) -> str:
    """Evidently's classification metrics of labelled reads and of validation data."""
    from evidently import DataDefinition, Dataset, MulticlassClassification, Report
    from evidently.metrics import Accuracy, F1ByLabel

    definition = DataDefinition(
        categorical_columns=["digit", "label"],
        classification=[MulticlassClassification(target="label", prediction_labels="digit")],
    )
    current_rows, reference_rows = (
        Dataset.from_pandas(rows[["digit", "label"]].dropna(), definition)
        for rows in (labelled, reference.rows)
    )
    snapshot = Report([Accuracy(), F1ByLabel()]).run(current_rows, reference_rows)
    return str(snapshot.get_html_str(as_iframe=False))


@dataclass(frozen=True, slots=True)
class Unusual:
    """A crop that is far from the reference, and the feature that differs most."""

    read_id: str
    crop_index: int
    site: str
    digit: str | None
    confidence: float
    accepted: bool
    feature: str
    value: float
    strength: float  # distance from the reference's median, over its 1 to 99 % range


def find_unusual(rows: pd.DataFrame, reference: pd.DataFrame, count: int) -> list[Unusual]:
    """Pick the rows farthest from the reference, at most `_PER_FEATURE` for each feature."""
    rows, reference = fill_gaps(rows), fill_gaps(reference)
    names = [
        name
        for name in (*features.IMAGE_FEATURES, *features.CROP_FEATURES, "aspect", "garbage")
        if _has_values(rows, reference, name)
    ]
    if not names:
        return []
    low, middle, high = (reference[names].quantile(q) for q in (0.01, 0.5, 0.99))
    spread = np.maximum(high - low, 1e-3)
    strength = ((rows[names] - middle).abs() / spread).fillna(0.0)
    feature, most = strength.idxmax(axis=1), strength.max(axis=1)
    chosen: list[Unusual] = []
    used: dict[str, int] = {}
    for place in most.sort_values(ascending=False).index:
        name = str(feature[place])
        if used.get(name, 0) >= _PER_FEATURE:
            continue
        used[name] = used.get(name, 0) + 1
        row = rows.loc[place]
        chosen.append(
            Unusual(
                read_id=str(row["read_id"]),
                crop_index=int(row["crop_index"]),
                site=str(row["site"]),
                digit=None if pd.isna(row["digit"]) else str(row["digit"]),
                confidence=0.0 if pd.isna(row["confidence"]) else float(row["confidence"]),
                accepted=bool(row["accepted"]) if pd.notna(row["accepted"]) else False,
                feature=name,
                value=float(row[name]),
                strength=float(most[place]),
            )
        )
        if len(chosen) == count:
            break
    return chosen
