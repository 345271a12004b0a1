from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from monitoring.config import Triggers, from_environment
from monitoring.findings import Severity
from monitoring.retrain_due import (
    RetrainState,
    end_of_finished,
    is_due,
    last_finished,
    num_crops_before,
)

NOW = datetime(2026, 12, 5, 8, tzinfo=UTC)
TRIGGERS = Triggers(min_labels=200, drift=Severity.ACT)


def labels(num: int, *, day: str = "2026-11-20") -> pd.DataFrame:
    when = pd.Timestamp(day, tz="UTC")
    return pd.DataFrame(
        {"read_id": [f"{day}-{n}" for n in range(num)], "crop_index": 0, "when": [when] * num}
    ).astype({"when": "datetime64[us, UTC]"})


def report_of(day: str, severity: Severity, *, enough: bool = True) -> dict[str, object]:
    return {"window": day, "last": day, "severity": int(severity), "enough": enough}


def decide(state=None, triggers=TRIGGERS, events=None, summaries=(), now=NOW):
    found = labels(0) if events is None else events
    num_labelled = num_crops_before(found, end_of_finished(now))
    return is_due(state or RetrainState(), triggers, num_labelled, summaries, now=now)


def test_enough_new_labels_call_for_a_retraining_as_of_the_past_month():
    due = decide(events=labels(200))
    assert (due.starts, due.as_of, due.num_labelled) == (True, "2026-11", 200)


def test_one_label_less_does_not():
    due = decide(events=labels(199))
    assert not due.starts
    assert "199 labelled crops are new, 200 are needed" in due.reason


def test_labels_of_the_month_that_still_runs_wait_for_its_end():
    assert not decide(events=labels(500, day="2026-12-01")).starts


def test_labels_that_the_last_retraining_had_are_not_new():
    state = RetrainState(done="2026-10", num_labelled=150)
    assert not decide(state, events=labels(300)).starts
    assert decide(state, events=labels(350)).starts


def test_several_labels_of_one_crop_count_once():
    assert not decide(events=pd.concat([labels(150), labels(150)])).starts


@pytest.mark.parametrize("day", ["2026-11-20", "2026-12-04"])
def test_a_report_that_says_act_calls_for_a_retraining_without_new_labels(day):
    due = decide(RetrainState(done="2026-10"), summaries=[report_of(day, Severity.ACT)])
    assert due.starts
    assert due.reason == f"drift said act on {day}"


@pytest.mark.parametrize(
    "summary",
    [
        report_of("2026-10-31", Severity.ACT),
        report_of("2026-11-20", Severity.WATCH),
        report_of("2026-11-20", Severity.ACT, enough=False),
    ],
    ids=["before", "watch", "insufficient"],
)
def test_a_report_that_is_old_milder_or_insufficient_does_not(summary):
    assert not decide(RetrainState(done="2026-10"), summaries=[summary]).starts


def test_drift_never_starts_one_where_it_is_switched_off():
    triggers = replace(TRIGGERS, drift=None)
    assert not decide(triggers=triggers, summaries=[report_of("2026-11-20", Severity.ACT)]).starts


def test_a_month_is_retrained_once():
    state = RetrainState(done="2026-11", num_labelled=200)
    due = decide(state, events=labels(900), summaries=[report_of("2026-12-04", Severity.ACT)])
    assert not due.starts
    assert due.reason == "2026-11 is done"


def test_after_a_downtime_of_months_the_last_finished_one_is_retrained():
    due = decide(RetrainState(done="2026-07", num_labelled=10), events=labels(400))
    assert (due.starts, due.as_of) == (True, "2026-11")


def test_a_failure_is_tried_again_after_an_hour_and_three_times_at_most():
    failed = RetrainState(trying="2026-11", tries=1, tried_at=NOW.isoformat())
    for tries, minutes, starts in ((1, 59, False), (1, 60, True), (2, 60, True), (3, 600, False)):
        state = replace(failed, tries=tries)
        due = decide(state, events=labels(200), now=NOW + timedelta(minutes=minutes))
        assert due.starts is starts, (tries, minutes)


def test_a_month_that_failed_does_not_hold_up_the_next():
    state = RetrainState(trying="2026-10", tries=3, tried_at=NOW.isoformat())
    assert decide(state, events=labels(200)).starts


@pytest.mark.parametrize(
    ("moment", "month"),
    [
        ("2026-12-01T00:59:59+00:00", "2026-10"),
        ("2026-12-01T01:00:00+00:00", "2026-11"),
        ("2027-01-15T12:00:00+00:00", "2026-12"),
        ("2026-12-01T01:30:00+02:00", "2026-10"),
    ],
)
def test_a_month_is_finished_an_hour_after_its_end_in_utc(moment, month):
    assert last_finished(datetime.fromisoformat(moment)) == month


def test_the_defaults_are_200_labels_or_a_report_that_says_act():
    assert from_environment({}).retrain == Triggers(min_labels=200, drift=Severity.ACT)


def test_the_triggers_are_settings():
    named = {"DIGITS_RETRAIN_LABELS": "50", "DIGITS_RETRAIN_DRIFT": "never"}
    assert from_environment(named).retrain == Triggers(min_labels=50, drift=None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DIGITS_RETRAIN_LABELS", "0"),
        ("DIGITS_RETRAIN_LABELS", "-1"),
        ("DIGITS_RETRAIN_LABELS", "²"),
        ("DIGITS_RETRAIN_LABELS", "many"),
        ("DIGITS_RETRAIN_DRIFT", "ACT!"),
    ],
)
def test_a_trigger_that_is_none_is_refused_with_its_name(name, value):
    with pytest.raises(ValueError, match=name):
        from_environment({name: value})
