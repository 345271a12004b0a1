import json

import numpy as np
import pytest

from contract import slo
from loadtest.load import request_log, shapes
from loadtest.load.compare import compare_text
from loadtest.load.load_command import record, verdict_text
from loadtest.load.mix import Check
from loadtest.load.ramp import write_capacity
from loadtest.load.request_log import Log
from loadtest.load.verdict import Phase, judge

OBJECTIVE = slo.Slo(
    sustained_rps=100,
    p99_ms=100,
    error_frac=0.0001,
    burst_rps=300,
    burst_p99_ms=500,
    availability=0.9995,
)
PHASE = Phase("steady", 0.0, 10.0, 100.0, 100.0)


def make_log(num=1000, *, latency_ms=5.0, status=200, num_wrong=0, num_right=None):
    right = num if num_right is None else num_right
    return Log(
        at_s=np.arange(num) * 10.0 / max(num, 1),
        latency_ms=np.full(num, latency_ms),
        status=np.full(num, status),
        num_crops=np.ones(num, dtype=np.int64),
        num_right=(np.arange(num) < right).astype(np.int64),
        is_wrong=np.arange(num) < num_wrong,
    )


def failed(log):
    findings = judge(log, [PHASE], OBJECTIVE)
    return [one.question.removeprefix("steady: ") for one in findings if not one.passed]


def test_the_slo_file_is_read_whole():
    objective = slo.load()
    assert objective.sustained_rps < objective.burst_rps
    assert objective.p99_ms < objective.burst_p99_ms


def test_a_good_run_passes():
    assert failed(make_log()) == []


def test_a_run_without_requests_fails():
    assert failed(make_log(0))[0] == "requests made"


def test_a_dead_server_fails_although_it_fails_fast():
    assert failed(make_log(latency_ms=0.1, status=0))[0] == "share failed"


def test_fewer_requests_than_planned_fail():
    assert failed(make_log(900)) == ["requests/s"]


def test_slow_answers_break_the_slo():
    assert failed(make_log(latency_ms=101.0)) == ["p99 ms"]


def test_an_accepted_wrong_digit_is_a_failure():
    assert failed(make_log(num_wrong=1)) == ["share failed"]


def test_too_many_rejected_or_misread_crops_fail_the_accuracy():
    assert failed(make_log(num_right=900)) == ["accuracy"]


def test_only_429_and_503_count_as_refused():
    assert "share refused (429, 503)" in failed(make_log(status=503))
    assert "share refused (429, 503)" not in failed(make_log(status=500))


def test_requests_outside_the_phase_are_not_judged():
    in_time, slow = make_log(), make_log(latency_ms=900.0)
    late = Log(slow.at_s + 20, *(getattr(slow, name) for name in Log.__slots__[1:]))
    columns = ([getattr(in_time, name), getattr(late, name)] for name in Log.__slots__)
    assert failed(Log(*map(np.concatenate, columns))) == []


def test_the_verdict_names_the_first_reason():
    text = verdict_text(judge(make_log(0), [PHASE], OBJECTIVE))
    assert text.splitlines()[-1].startswith("the SLO is broken: steady: requests made")


def test_the_record_holds_no_infinity():
    log = make_log(10, status=0)
    kept = record(log, [PHASE], judge(log, [PHASE], OBJECTIVE))
    assert next(r for r in kept["findings"] if r["question"] == "steady: p99 ms")["value"] is None


def test_a_written_log_is_read_back_unchanged(tmp_path):
    recorder = request_log.Recorder(start_s=100.0)
    recorder.add(101.5, 7.0, 200, 8, Check(num_right=7, is_wrong=True))
    recorder.add(102.0, 9.0, 503, 1, None)
    request_log.save(recorder.log(), tmp_path / "a.npz")
    log = request_log.read(tmp_path / "a.npz")
    assert log.at_s.tolist() == [1.5, 2.0]
    assert log.num_crops.tolist() == [8, 0]  # without an answer nothing was compared
    assert log.is_wrong.tolist() == [True, False]


@pytest.mark.parametrize("name", shapes.SHAPES)
def test_every_phase_lies_within_its_shape_and_has_its_rate(name):
    shape = shapes.SHAPES[name](240.0, OBJECTIVE)
    assert shape.phases
    for phase in shape.phases:
        assert 0 <= phase.starts_s < phase.ends_s <= shape.duration_s
        middle = (phase.starts_s + phase.ends_s) / 2
        assert shape.rps(middle) == pytest.approx(phase.planned_rps)


def test_trucks_arrive_within_a_second():
    shape = shapes.trucks(60.0, OBJECTIVE)
    assert (shape.rps(shapes.TRUCK_AT_S - 0.5), shape.rps(shapes.TRUCK_AT_S + 0.5)) == (10, 300)


def test_a_duration_too_short_for_a_burst_is_refused():
    with pytest.raises(ValueError, match="too short"):
        shapes.trucks(30.0, OBJECTIVE)


def report(p99_ms, *, passed=True, shape="steady"):
    finding = {"question": "steady: p99 ms", "value": p99_ms, "limit": "< 100", "passed": passed}
    return {"shape": shape, "tool": "Locust", "date": "d", "commit": "c", "findings": [finding]}


def test_comparing_shows_the_change_and_a_new_failure():
    line = compare_text(report(50.0), report(110.0, passed=False)).splitlines()[1]
    assert "+120.0%" in line
    assert line.endswith("FAILS NOW")


def test_different_shapes_are_not_compared():
    with pytest.raises(ValueError, match="cannot be compared"):
        compare_text(report(1.0), report(1.0, shape="day"))


def ramp_file(tmp_path, *, limited):
    content = {"capacity_rps": 3000.0, "cores": 2, "generator_was_the_limit": limited}
    content |= {"date": "d", "machine": "m", "commit": "c", "command": "x"}
    file = tmp_path / "ramp.json"
    file.write_text(json.dumps(content))
    return file


def test_the_capacity_per_core_is_written_for_the_deployment(tmp_path):
    write_capacity(ramp_file(tmp_path, limited=False), tmp_path / "capacity.json")
    written = json.loads((tmp_path / "capacity.json").read_text())
    assert written["requests_per_s_per_core"] == 1500


def test_a_generator_at_its_limit_gives_no_capacity(tmp_path):
    with pytest.raises(ValueError, match="not known"):
        write_capacity(ramp_file(tmp_path, limited=True), tmp_path / "capacity.json")
    assert not (tmp_path / "capacity.json").exists()
