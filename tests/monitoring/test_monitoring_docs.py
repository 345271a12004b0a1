from __future__ import annotations

from pathlib import Path

import pytest

from capture.parquet_schema import SCHEMA, describe
from contract import metrics
from monitoring import rules, site_rules
from monitoring.__main__ import build_parser, main
from monitoring.config import from_environment

PLACES = [
    "CAPTURE_DIR", "CAPTURE_STORE", "REPORTS", "DATA_STORE", "MODEL_STORE", "REPORTS_URL", "ALERTS",
]  # fmt: skip
PLAN = (Path(__file__).resolve().parents[2] / "docs/monitoring.md").read_text()


def test_the_documented_columns_are_the_columns_of_the_files():
    assert describe() in PLAN
    assert len(SCHEMA) == describe().count("\n") - 1


@pytest.mark.parametrize("metric", sorted(metrics.JOBS))
def test_every_metric_is_in_the_plan(metric):
    assert f"`{metric}`" in PLAN


def test_every_command_is_in_the_plan():
    choices = build_parser(from_environment({}))._subparsers._group_actions[0].choices
    for name in choices:
        assert f"python -m monitoring {name}" in PLAN, name


def test_the_rules_in_the_plan_are_those_in_force():
    assert f"above {rules.DISTANCE_LIMIT} standard deviations" in PLAN
    assert f"Fewer than {rules.MIN_RECORDS} records" in PLAN
    assert f"({rules.MIN_LABELS} or more)" in PLAN
    assert f"a feature {site_rules.SITE_DISTANCE_LIMIT} standard deviations away" in PLAN


@pytest.mark.parametrize("value", ["0", "-1", "soon", "", "²", "9" * 5000, "36501"])
def test_an_invalid_retention_is_refused(value):
    with pytest.raises(ValueError, match="DIGITS_CAPTURE_KEEP_DAYS"):
        from_environment({"DIGITS_CAPTURE_KEEP_DAYS": value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((f"DIGITS_{name}", " ") for name in PLACES),
        *((f"DIGITS_{name}", "") for name in PLACES),
        ("DIGITS_CAPTURE_DIR", "s3://bucket/spool"),
        ("DIGITS_CAPTURE_STORE", "ftp://store"),
        ("DIGITS_EMF", "tru"),
        ("DIGITS_RETRAIN_LABELS", "9" * 5000),
    ],
)
def test_an_empty_place_or_an_unknown_word_is_refused_with_the_variable(name, value):
    with pytest.raises(ValueError, match=name):
        from_environment({name: value})


def test_a_mistake_in_a_setting_is_one_line_and_no_traceback(monkeypatch, capsys):
    monkeypatch.setenv("DIGITS_CAPTURE_KEEP_DAYS", "soon")
    assert main(["ship"]) == 2
    assert capsys.readouterr().err.startswith("DIGITS_CAPTURE_KEEP_DAYS is 'soon'; give")
