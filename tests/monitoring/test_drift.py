from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from capture import features
from capture.labels import LABEL_SCHEMA
from capture.predictions import Predictions
from capture.reference import NUMERIC, Reference, build, load, to_parquet
from capture.rows import to_table
from monitoring import distances, drift

NO_LABELS = LABEL_SCHEMA.empty_table().to_pandas()


@pytest.fixture(scope="module")
def report(rows_of, reference):
    rows = rows_of(2_000, seed=4, sites=3)
    rows["sharpness"] -= 1
    rows["label"] = rows["digit"]
    rendered = drift.render(rows, reference)
    return rows, rendered, json.loads(rendered.json)


def value(found, column: str) -> float:
    (metric,) = [
        one
        for one in found["metrics"]
        if one["metric_name"].startswith(f"ValueDrift(column={column},")
    ]
    return float(metric["value"])


def test_evidently_measures_the_distances_that_the_rules_judge(report, reference):
    rows, _, found = report
    ours = distances.measure_distances(rows, reference.rows)
    assert set(ours) == set(NUMERIC)
    for column, distance in ours.items():
        assert value(found, column) == pytest.approx(distance, rel=1e-6), column
    assert value(found, "polarity") == pytest.approx(
        distances.jensen_shannon(rows["polarity"], reference.rows["polarity"]), abs=1e-9
    )


def test_evidently_s_page_gives_no_verdict_beside_the_rules(report):
    assert not json.loads(report[1].json).get("tests")


def test_evidently_judges_the_digit_mix_as_the_rules_do(rows_of, reference):
    few = Reference(reference.rows.head(600), "3", threshold=0.9, garbage_threshold=10.0)
    rows = rows_of(4_000, seed=4)
    found = json.loads(drift.render(rows, few).json)
    expected = distances.class_mix_p(rows["digit"], few.rows["digit"])
    assert value(found, "digit") == pytest.approx(expected)


def test_the_report_is_one_page_with_everything_in_it(report):
    _, rendered, _ = report
    for html in (rendered.html, rendered.labelled_html):
        assert html.count("<html") == 1
        assert "<script src=" not in html


def test_without_labels_there_is_no_page_about_them(rows_of, reference):
    assert drift.render(rows_of(600), reference).labelled_html is None


def test_one_digit_one_site_and_one_polarity_break_nothing(rows_of, reference):
    rows = rows_of(600)
    rows["digit"], rows["polarity"], rows["total_ms"] = "3", "dark ink", 0.0
    assert json.loads(drift.render(rows, reference).json)["metrics"]


def captured(records) -> pd.DataFrame:
    rows = to_table(records).to_pandas()
    rows["site"] = [record.site for record in records]
    return rows


def test_captured_rows_get_labels_polarity_and_text_digits(make_record):
    records = [make_record(1, inverted=True), make_record(2)]
    labels = pd.DataFrame({"read_id": [records[1].read_id], "crop_index": [0], "label": ["5"]})
    rows = drift.prepare(captured(records), labels)
    assert list(rows["polarity"]) == ["light ink", "dark ink"]
    assert list(rows["digit"]) == ["1", "2"]
    assert rows["label"].isna().tolist() == [True, False]
    assert rows["label"][1] == "5"


def test_a_blank_crop_counts_as_rejected_and_in_no_distance(make_record):
    blank = make_record(
        1, digit=None, probs=(), image=None, accepted=False, rejected_because="blank"
    )
    rows = drift.prepare(captured([make_record(2), blank]), NO_LABELS)
    assert rows["accepted"].tolist() == [True, False]
    for column in ("ink_mass", "confidence", "aspect", "polarity", "digit"):
        assert rows[column].isna().tolist() == [False, True], column


def test_reads_of_a_site_on_hold_are_not_compared(make_record):
    held = make_record(1, accepted=False, rejected_because="site_on_hold")
    rows = drift.prepare(captured([make_record(2), held]), NO_LABELS)
    assert rows["accepted"].tolist() == [True]


def test_unusual_crops_are_found_with_the_feature_that_differs_most(rows_of, reference):
    rows = rows_of(2_000)
    rows.loc[17, "slant_deg"] = 60
    rows.loc[18, "paper_grain"] = -50
    found = drift.find_unusual(rows, reference.rows, 10)
    assert [(one.read_id, one.feature) for one in found[:2]] == [
        ("0-17", "slant_deg"),
        ("0-18", "paper_grain"),
    ]
    assert len(found) == 10
    counts = pd.Series([one.feature for one in found]).value_counts()
    assert counts.max() <= 4


@pytest.fixture
def predictions() -> Predictions:
    rng = np.random.default_rng(0)
    crops = []
    for n in range(30):
        crop = np.full((40, 30), 220, np.uint8)
        crop[8:32, 10 + n % 4 : 16] = 20
        crops.append(255 - crop if n % 3 == 0 else crop)
    crops.append(np.full((40, 30), 200, np.uint8))  # blank
    return Predictions(
        model_version="8",
        threshold=0.8,
        garbage_threshold=0.0,
        crops=crops,
        images=rng.integers(0, 256, (31, 28, 28), dtype=np.uint8),
        probs=rng.dirichlet(np.ones(10), 31).astype(np.float32),
        garbage=np.full(31, -np.inf, np.float32),
        labels=np.arange(31) % 10,
    )


def test_a_reference_is_built_saved_and_loaded(predictions, tmp_path):
    made = build(predictions)
    assert len(made.rows) == 30  # the blank crop has nothing to compare
    assert (made.rows["polarity"] == "light ink").sum() == 10
    assert made.rows["garbage"].isna().all()
    (tmp_path / "reference.parquet").write_bytes(to_parquet(made))
    loaded = load(str(tmp_path / "reference.parquet"))
    assert (loaded.model_version, loaded.threshold) == ("8", 0.8)
    pd.testing.assert_frame_equal(loaded.rows, made.rows, check_dtype=False)
    assert loaded.is_rejected(1.0).all()


def test_reference_and_captures_have_the_same_features_of_the_same_crop(predictions, make_record):
    made = build(predictions).rows
    record = make_record(
        image=predictions.images[1], crop=predictions.crops[1], probs=predictions.probs[1].tolist()
    )
    rows = drift.prepare(captured([record]), NO_LABELS)
    for name in (*features.IMAGE_FEATURES, *features.CROP_FEATURES, "entropy", "gap"):
        assert rows[name][0] == pytest.approx(made[name][1], rel=1e-5), name


def test_a_missing_reference_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="python -m monitoring reference"):
        load(str(tmp_path / "none.parquet"))


def test_another_parquet_file_is_no_reference(tmp_path):
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="not a drift reference"):
        load(str(tmp_path / "other.parquet"))


def test_audits_are_compared_with_accepted_validation_crops_only(rows_of, reference, monkeypatch):
    """Rejected crops are read wrong more often: with them, accepted audits look too good."""
    compared = []
    monkeypatch.setattr(drift, "_quality", lambda *frames: compared.extend(frames))
    current = rows_of(600)
    current["label"] = current["digit"]
    drift.render(current, reference)
    audited, accepted = compared
    assert audited["accepted"].all()
    assert len(audited) < len(current)
    assert (accepted["confidence"] >= reference.threshold).all()
    assert len(accepted) < len(reference.rows)
