"""Captured rows and the champion's reference -> an Evidently report and the most unusual crops.

The only module that imports evidently. The import takes seconds and 270 MB, so it happens when a
report is made. Knows nothing about where reports are stored or who is notified.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import pandas as pd

from capture import features
from capture.label_event import UNREADABLE
from capture.reference import CATEGORICAL, DARK_INK, LIGHT_INK, NUMERIC, Reference
from monitoring import rules
from monitoring.distances import (
    LEAST_SPREAD,
    MIN_VALUES,
    class_mix_p,
    jensen_shannon,
    normed_distance,
)
from monitoring.findings import Finding
from monitoring.gaps import fill_gaps
from monitoring.shadow_compare import CHALLENGER_COLUMNS

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
    *CHALLENGER_COLUMNS,
)
ON_HOLD: Final = "site_on_hold"  # rejected_because
MAX_REPORT_ROWS: Final = 20_000  # more rows do not improve Evidently's charts
MAX_REPORT_SITES: Final = 20
_METHOD: Final = "digitline_{}"  # name of a column's distance in Evidently's registry
_NUM_PICTURES: Final = 24
_NUM_PICTURES_OF_SITE: Final = 8
_MOST_SITES_PICTURED: Final = 2
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
    labelled_html: str | None  # accuracy of audited accepted reads; None when there are too few


def render(
    current: pd.DataFrame, reference: Reference, labelled: pd.DataFrame | None = None
) -> Rendered:
    """Run Evidently on a window with at least `rules.MIN_RECORDS` rows.

    A column that has no value on one of the sides is left out.
    `labelled` are all of the window's audited rows; those of `current` when None. Only accepted
    reads are compared, on both sides.
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
    is_known = labelled_rows["label"].notna() & labelled_rows["digit"].notna()
    labelled = labelled_rows[is_known & labelled_rows["accepted"].eq(True)]  # noqa: FBT003 - pandas
    definition = DataDefinition(
        numerical_columns=numeric,
        categorical_columns=categorical,
    )
    datasets = [
        Dataset.from_pandas(rows[columns], definition) for rows in (current_rows, reference_rows)
    ]
    metrics = _metrics(current_rows, reference_rows, columns)
    snapshot = Report(metrics, include_tests=False).run(*datasets)
    return Rendered(
        html=snapshot.get_html_str(as_iframe=False),
        json=snapshot.json(),
        labelled_html=_quality(labelled, reference.accepted_truth(threshold))
        if len(labelled) >= rules.MIN_LABELS
        else None,
    )


def _has_values(current: pd.DataFrame, reference: pd.DataFrame, name: str) -> bool:
    return bool(current[name].notna().any() and reference[name].notna().any())


def _metrics(current: pd.DataFrame, reference: pd.DataFrame, columns: list[str]) -> list[Any]:
    """Figures without tests: `rules` gives the verdict, so the two pages cannot contradict."""
    from evidently.metrics import MeanValue, MissingValueCount, QuantileValue, RowCount, ValueDrift
    from evidently.metrics.group_by import GroupBy

    _register_distances()
    enough = [
        name
        for name in columns
        if min(current[name].count(), reference[name].count()) >= MIN_VALUES
    ]
    of_column = {
        "rejected": MeanValue(column="rejected", tests=[]),
        "total_ms": QuantileValue(column="total_ms", quantile=0.99, tests=[]),
    }
    metrics = [
        RowCount(tests=[]),
        *(metric for name, metric in of_column.items() if name in columns),
        *(
            ValueDrift(column=name, method=_METHOD.format(name), threshold=_limit_of(name))
            for name in (*CATEGORICAL, *NUMERIC)
            if name in enough
        ),
        *(MissingValueCount(column=name, tests=[]) for name in NUMERIC if name in columns),
    ]
    if 1 < current["site"].nunique() <= MAX_REPORT_SITES and "rejected" in columns:
        metrics.append(GroupBy(MeanValue(column="rejected", tests=[]), "site"))
    return metrics


def _limit_of(name: str) -> float:
    of_mix = {"digit": rules.CLASS_MIX_P, "polarity": rules.POLARITY_LIMIT}
    return of_mix.get(name, rules.DISTANCE_LIMIT)


def _register_distances() -> None:
    """Let Evidently measure each column as the rules do: its own methods decide otherwise.

    Its chi-squared test takes the reference's mix as exact, and its Wasserstein distance has one
    floor for all columns.
    """
    from evidently.legacy.calculations.stattests import StatTest, register_stattest
    from evidently.legacy.core import ColumnType

    for name in (*CATEGORICAL, *NUMERIC):
        words = {"digit": "p of a chi-squared test", "polarity": "Jensen-Shannon distance"}
        test = StatTest(
            name=_METHOD.format(name),
            display_name=words.get(name, "normed Wasserstein distance"),
            allowed_feature_types=[
                ColumnType.Categorical if name in CATEGORICAL else ColumnType.Numerical
            ],
        )
        register_stattest(test, partial(_measure, name))


def _measure(
    name: str, reference: pd.Series, current: pd.Series, _: object, limit: float
) -> tuple[float, bool]:
    """A column's distance and whether it is beyond the limit, in the form Evidently asks for."""
    if name == "digit":
        p = class_mix_p(current, reference)
        return p, p < limit
    if name == "polarity":
        distance = jensen_shannon(current, reference)
    else:
        distance = normed_distance(current, reference, least_spread=LEAST_SPREAD[name])
    return distance, distance > limit


def _quality(audited: pd.DataFrame, accepted: pd.DataFrame) -> str:
    """Evidently's classification metrics of audited reads and of accepted validation crops."""
    from evidently import DataDefinition, Dataset, MulticlassClassification, Report
    from evidently.metrics import Accuracy, F1ByLabel

    definition = DataDefinition(
        categorical_columns=["digit", "label"],
        classification=[MulticlassClassification(target="label", prediction_labels="digit")],
    )
    current_rows, reference_rows = (
        Dataset.from_pandas(rows[["digit", "label"]].dropna(), definition)
        for rows in (audited, accepted)
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


def find_pictures(
    rows: pd.DataFrame, reference: pd.DataFrame, findings: Sequence[Finding]
) -> list[Unusual]:
    """Pick the crops of the page: of the sites that findings name first, then of all others."""
    named = [*dict.fromkeys(one.site for one in findings if one.site)]
    found: list[Unusual] = []
    for site in named[:_MOST_SITES_PICTURED]:
        found += find_unusual(rows[rows["site"] == site], reference, _NUM_PICTURES_OF_SITE)
    rest = rows[~rows["site"].isin(named)]
    return found + find_unusual(rest, reference, _NUM_PICTURES - len(found))


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
        chosen.append(described(rows.loc[place], feature=name, strength=float(most[place])))
        if len(chosen) == count:
            break
    return chosen


def described(row: pd.Series, *, feature: str, strength: float) -> Unusual:
    """What a page says of one crop; `feature` is empty where none is to be named."""
    return Unusual(
        read_id=str(row["read_id"]),
        crop_index=int(row["crop_index"]),
        site=str(row["site"]),
        digit=None if pd.isna(row["digit"]) else str(row["digit"]),
        confidence=0.0 if pd.isna(row["confidence"]) else float(row["confidence"]),
        accepted=bool(row["accepted"]) if pd.notna(row["accepted"]) else False,
        feature=feature,
        value=float(row[feature]) if feature else float("nan"),
        strength=strength,
    )
