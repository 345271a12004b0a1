"""A column without a value stops neither the verdict nor the report."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from capture.features import CROP_FEATURES
from capture.reference import CATEGORICAL, NUMERIC
from monitoring import drift, rules
from monitoring.findings import Severity
from monitoring.gaps import ALWAYS_WRITTEN, NO_SITE, fill_gaps

COLUMNS = (*NUMERIC, *CATEGORICAL, *ALWAYS_WRITTEN)
NUMBERS = (*NUMERIC, "threshold", "total_ms")


@pytest.mark.parametrize("column", COLUMNS)
def test_a_column_without_a_value_is_named_and_pages_nobody(rows_of, reference, column):
    rows = rows_of(600)
    rows[column] = None
    assessment = rules.assess(rows, reference)
    assert assessment.severity < Severity.ACT
    assert f"column {column} has no value in 600 rows, so it is not judged" in assessment.not_judged


@pytest.mark.parametrize(
    "column",
    [  # Evidently takes seconds: of the features the first, the rest with the slow tests
        *(NUMERIC[0], *CATEGORICAL, *ALWAYS_WRITTEN),
        *(pytest.param(name, marks=pytest.mark.slow) for name in NUMERIC[1:]),
    ],
)
def test_a_column_without_a_value_is_left_out_of_evidently_s_report(rows_of, reference, column):
    rows = rows_of(600)
    rows[column] = None
    found = json.loads(drift.render(rows, reference).json)
    assert f"column={column}," not in json.dumps(found["metrics"])


@pytest.mark.parametrize("column", NUMBERS)
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinite_column_counts_as_one_without_a_value(rows_of, reference, column, value):
    rows = rows_of(600)
    missing, infinite = rows.copy(), rows.copy()
    missing[column], infinite[column] = np.nan, value
    expected, found = (rules.assess(one, reference) for one in (missing, infinite))
    assert (found.findings, found.not_judged) == (expected.findings, expected.not_judged)


@pytest.mark.parametrize("column", sorted({*COLUMNS} - {*CROP_FEATURES}))
def test_a_column_that_every_crop_with_ink_lacks_is_a_finding(rows_of, reference, column):
    rows = rows_of(600)
    rows[column] = None
    found = [one for one in rules.assess(rows, reference).findings if one.rule == "missing"]
    assert [one.subject for one in found] == [column]


@pytest.mark.parametrize("column", NUMBERS)
def test_a_constant_column_is_judged(rows_of, reference, column):
    rows = rows_of(600)
    rows[column] = 0.5
    assert rules.assess(rows, reference).not_judged == ()


def test_a_few_values_are_too_few_to_judge(rows_of, reference):
    rows = rows_of(600)
    rows.loc[rows.index[1:], "slant_deg"] = np.nan
    assessment = rules.assess(rows, reference)
    assert "slant_deg" not in assessment.distances
    assert assessment.not_judged == (
        "column slant_deg has a value in only 1 of 600 rows, so it is not judged",
    )


def blank(rows: pd.DataFrame, which: np.ndarray) -> pd.DataFrame:
    """The rows with these crops blank, as `drift.prepare` gives them."""
    rows.loc[which, list(NUMERIC)] = np.nan
    rows.loc[which, [*CATEGORICAL]] = None
    rows.loc[which, "accepted"] = False
    rows.loc[which, "rejected_because"] = "blank"
    return rows


def test_blank_crops_lack_their_features_by_nature(rows_of, reference):
    rows = rows_of(2_000)
    assessment = rules.assess(blank(rows, rows.index < 100), reference)
    assert "missing" not in {one.rule for one in assessment.findings}


@pytest.mark.parametrize(
    ("num_blank", "severity"), [(70, Severity.CALM), (90, Severity.WATCH), (130, Severity.ACT)]
)
def test_severity_comes_from_the_share_of_blanks(rows_of, reference, num_blank, severity):
    rows = rows_of(2_000, rejected=0)
    assert rules.assess(blank(rows, rows.index < num_blank), reference).severity == severity


def test_only_blank_crops_are_an_alarm_and_nothing_else_is_judged(rows_of, reference):
    rows = rows_of(600)
    assessment = rules.assess(blank(rows, rows.index >= 0), reference)
    assert assessment.severity == Severity.ACT
    assert assessment.blank_share == 1
    assert assessment.not_judged == (
        "all 600 crops are blank, so nothing else about them is judged",
    )


@pytest.mark.parametrize("num_dark", [1, 20, 40])
def test_every_site_of_only_blank_crops_is_named_and_no_other(rows_of, reference, num_dark):
    rows = rows_of(40 * 250, sites=40)
    dark = {f"site {number:02d}" for number in range(num_dark)}
    assessment = rules.assess(blank(rows, rows["site"].isin(dark)), reference)
    acting = {one.site for one in assessment.findings if one.site}
    assert acting == dark
    assert {one.site for one in assessment.sites if one.named} == dark


def test_rows_without_a_site_count_as_one(rows_of, reference):
    rows = rows_of(600)
    rows["site"] = rows["site"].astype(object)
    rows.loc[rows.index[:250], "site"] = None
    assessment = rules.assess(rows, reference)
    assert NO_SITE in {one.site for one in assessment.sites}
    assert assessment.not_judged == (
        "column site has no value in 250 rows; they count as one site",
    )


def test_rows_without_a_verdict_are_in_no_reject_share(rows_of, reference):
    rows = rows_of(600, rejected=0)
    rows["accepted"] = rows["accepted"].astype(object)
    rows.loc[rows.index[:300], "accepted"] = None
    assert rules.assess(rows, reference).reject_share == 0


@pytest.mark.parametrize("copies", [2, 3])
def test_duplicate_rows_break_nothing(rows_of, reference, copies):
    rows = pd.concat([rows_of(500)] * copies)
    assert rules.assess(rows, reference).num_records == 500 * copies
    assert drift.find_unusual(rows, reference.rows, 10)


def test_exactly_enough_records_are_judged(rows_of, reference):
    assert rules.assess(rows_of(rules.MIN_RECORDS), reference).enough


def test_no_feature_at_all_means_no_unusual_crop(rows_of, reference):
    rows = rows_of(600)
    rows[list(NUMERIC)] = np.nan
    assert drift.find_unusual(rows, reference.rows, 10) == []


def test_the_rows_given_stay_as_they_were(rows_of):
    rows = rows_of(3)
    rows["confidence"] = np.inf
    fill_gaps(rows)
    assert np.isinf(rows["confidence"]).all()
